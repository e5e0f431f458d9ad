"""Thumbnails for a page: small, each distinct one once, and no more of them than the page can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96  # pixels of the longer side: sharp on dense screens at the size that the page shows
QUALITY = 75
LIMIT = 4_000_000  # characters of all thumbnails of a page


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the page holds it: its id there, its size in pixels, and its file as a data: address."""

    id: str
    width: int
    height: int
    address: str


class Pictures:
    """The thumbnails of a page, by id; equal pictures share one."""

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self.by_id: dict[str, Thumbnail] = {}

    def keep(self, thumbnails: Iterable[Thumbnail]) -> bool:
        """Put thumbnails on the page, all or, where there is no room for all, none: then False."""
        with_them = self.by_id | {one.id: one for one in thumbnails}
        if sum(len(one.address) for one in with_them.values()) > self.limit:
            return False
        self.by_id = with_them
        return True


def thumbnail(picture: Image) -> Thumbnail:
    """A picture of any size as a WebP file of at most SIDE x SIDE pixels; JPEG where Pillow has no WebP."""
    from PIL import Image, features

    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    kind = "webp" if features.check("webp") else "jpeg"
    file = io.BytesIO()
    small.save(file, kind, quality=QUALITY)
    content = file.getvalue()
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Thumbnail(f"p{digest(content)[:16]}", *small.size, address)
