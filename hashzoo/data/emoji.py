"""`emoji`: one row per emoji and vendor, its drawing, a caption and labels; pictures come from npm packages."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hashzoo.data import emoji_rows
from hashzoo.data.base import Dataset, Splits
from hashzoo.data.emoji_sources import VARIANTS, VENDORS, WORDS, notices, packages
from hashzoo.data.locks import alone
from hashzoo.data.npm import fetch, read_json_members
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import DAMAGED, atomic_write, cache_dir, digest, file_digest, read_json, write_json

RECIPE = 1  # raised when the code below, or emoji_rows, makes other rows of the same packages
SIZES = range(16, 513)
OTHERWISE = "or use --dataset scenes, which needs no network"
SPLIT_RULE = (
    "by concept (an emoji together with its gender and direction variants and those drawn alike): a hash makes about "
    "a quarter of the concepts query; train and database are all other rows"
)


class Emoji(Dataset):
    """The same things drawn by three vendors (nine in variant "full"), with captions and about 50 labels.

    Opening it prepares it (npm downloads the pinned packages, the drawings are rendered) unless the cache
    has it. Settings: `variant`, "" or "full"; `size`, the side of the stored square pictures in pixels.

    Attributes, beside those of every data set:
        concepts: (N,) int64; rows of one concept (one emoji, or several that are variants of one) share a number.
        emoji: N code point sequences ("1F9D1-200D-1F33E").
        vendors: N vendor names, keys of `emoji_sources.VENDORS`.
    """

    def __init__(self, variant: str = "", size: int = 128):
        _check_settings(variant, size)
        self.variant, self.size = variant, size
        self.name = _name(variant)
        self._folder = _folder(variant, size)
        if not (self._folder / "meta.json").exists():
            self.prepare(variant=variant, size=size)
        self._meta = read_json(self._folder / "meta.json")
        for file, recorded in self._meta["files"].items():
            path = self._folder / file
            if not path.exists() or path.stat().st_size != recorded["bytes"]:
                raise self._damaged(path)
        try:
            self._images = np.load(self._folder / "images.npy", mmap_mode="r", allow_pickle=False)
        except DAMAGED:
            raise self._damaged(self._folder / "images.npy") from None
        rows = read_json(self._folder / "rows.json")
        self._texts: list[str] = rows["texts"]
        self.classes = tuple(rows["classes"])
        self.emoji = tuple(rows["emoji"])
        self.vendors = tuple(rows["vendors"])
        self.labels = np.zeros((len(self._texts), len(self.classes)), dtype=np.bool_)
        for row, columns in enumerate(rows["labels"]):
            self.labels[row, columns] = True
        _, first, self.concepts = np.unique(rows["concepts"], return_index=True, return_inverse=True)
        is_query = np.array([emoji_rows.is_query(rows["concepts"][row]) for row in first])[self.concepts]
        rest = np.flatnonzero(~is_query)
        self.groups = self.concepts
        self.splits = Splits(train=rest, query=np.flatnonzero(is_query), database=rest, rule=SPLIT_RULE)
        self.licence = notices(variant)

    def image(self, row: int) -> Image.Image:
        return Image.fromarray(np.asarray(self._images[row]))

    def text(self, row: int) -> str:
        return self._texts[row]

    def fingerprint(self) -> str:
        return self._meta["fingerprint"]

    def verify(self) -> None:
        """Read every byte of the cache; raise a sentence that names the file that changed since preparation."""
        for file, recorded in self._meta["files"].items():
            path = self._folder / file
            if file_digest(path) != recorded["sha256"]:
                raise self._damaged(path)

    @classmethod
    def prepare(cls, variant: str = "", size: int = 128) -> None:  # type: ignore[override]
        """Download, render and store; what is there and intact stays, so that a killed run is resumed."""
        _check_settings(variant, size)
        folder = _folder(variant, size)
        downloads = folder.parent / "npm"
        with alone(folder.parent):
            if (folder / "meta.json").exists():
                with contextlib.suppress(HashzooError):
                    return cls(variant, size).verify()
                (folder / "meta.json").unlink()
            for left_over in folder.glob(".*.part"):
                left_over.unlink()
            if not importlib.util.find_spec("resvg_py"):
                raise HashzooError(
                    f"drawing emoji needs resvg-py, which is not installed: type pip install resvg-py, {OTHERWISE}",
                    exit_code=1,
                )
            fetch(packages(variant), downloads, otherwise=OTHERWISE)
            _build(variant, size, downloads, folder)

    def _damaged(self, path: Path) -> HashzooError:
        size = "" if self.size == 128 else f" --set dataset.size={self.size}"
        return HashzooError(
            f"{path} is not what was stored for '{self.name}': type hashzoo datasets prepare {self.name}{size}",
            exit_code=1,
        )


def _build(variant: str, size: int, downloads: Path, folder: Path) -> None:
    """Write images.npy and rows.json, then meta.json, whose presence means that the data set is complete."""
    entries, drawings = _collect(variant, size, downloads)
    rows: dict[str, Any] = {
        "classes": list(emoji_rows.vocabulary()["labels"]),
        "emoji": [entry.hexcode for entry, _ in entries],
        "vendors": [vendor for _, vendor in entries],
        "concepts": [entry.concept for entry, _ in entries],
        "labels": [list(entry.labels) for entry, _ in entries],
        "texts": [emoji_rows.caption(entry, vendor) for entry, vendor in entries],
    }
    write_json(folder / "rows.json", rows)
    pixels = hashlib.sha256()
    with (
        atomic_write(folder / "images.npy") as file,
        progress(f"Rendering {_name(variant)}", len(drawings), "images") as advance,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(drawings), size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for picture in _render(drawings):
            file.write(picture)
            pixels.update(picture)
            advance(1)
    write_json(
        folder / "meta.json",
        {
            "fingerprint": fingerprint(pixels.hexdigest(), rows["texts"], rows["classes"], rows["labels"]),
            "files": {name: _record(folder / name) for name in ("images.npy", "rows.json")},
            "recipe": _recipe(variant, size),
        },
    )


def fingerprint(pixels: str, texts: list[str], classes: list[str], labels: list[list[int]]) -> str:
    """Digest of the content: SHA-256 of all pixels, the texts, the class names, the label columns of each row."""
    return digest({"pixels": pixels, "texts": texts, "classes": classes, "labels": labels})


def _collect(variant: str, size: int, downloads: Path) -> tuple[list[tuple[emoji_rows.Entry, str]], list[str]]:
    """Every (emoji, vendor) that has a label, a caption and a drawing, and the drawings as SVG documents."""
    emojibase, groups = read_json_members(downloads / WORDS["emojibase"].filename, "en/data.json", "meta/groups.json")
    (emojilib,) = read_json_members(downloads / WORDS["emojilib"].filename, "dist/emoji-en-US.json")
    everything = emoji_rows.entries(emojibase, groups, emojilib)
    found: dict[tuple[str, str], str] = {}
    for vendor in VARIANTS[variant]:
        path = downloads / VENDORS[vendor].package.filename
        icons, chars = read_json_members(path, "icons.json", "chars.json")
        for hexcode, icon in emoji_rows.match_icons(everything, icons, chars).items():
            found[hexcode, vendor] = emoji_rows.svg(icons, icon, size)
    kept = [
        (entry, vendor)
        for entry in everything
        for vendor in VARIANTS[variant]
        if entry.labels and (entry.hexcode, vendor) in found and emoji_rows.caption(entry, vendor)
    ]
    return kept, [found[entry.hexcode, vendor] for entry, vendor in kept]


def _render(drawings: Iterable[str]) -> Iterator[bytes]:
    """RGB bytes of each SVG document on white."""
    from resvg_py import svg_to_bytes

    for drawing in drawings:
        # Without dpi, documents with lengths in pt or mm are refused.
        png = svg_to_bytes(svg_string=drawing, background="#ffffff", dpi=96.0, skip_system_fonts=True)
        with Image.open(io.BytesIO(png)) as picture:
            yield picture.convert("RGB").tobytes()


def _recipe(variant: str, size: int) -> dict[str, Any]:
    """All that the stored rows depend on."""
    return {
        "recipe": RECIPE,
        "vendors": list(VARIANTS[variant]),
        "size": size,
        "packages": {f"{package.name}@{package.version}": package.integrity for package in packages(variant)},
        "labels": digest(emoji_rows.vocabulary()),
    }


def _folder(variant: str, size: int) -> Path:
    key = digest(_recipe(variant, size))[:8]
    return cache_dir() / "datasets" / "emoji" / "-".join(part for part in (variant, str(size), key) if part)


def _name(variant: str) -> str:
    return f"emoji/{variant}" if variant else "emoji"


def _check_settings(variant: str, size: int) -> None:
    if variant not in VARIANTS:
        raise HashzooError(
            f"there is no data set 'emoji/{variant}'; choose emoji (3 vendors) or emoji/full (9 vendors)"
        )
    if type(size) is not int or size not in SIZES:
        raise HashzooError(f"dataset.size must be a whole number from {SIZES[0]} to {SIZES[-1]}, not {size!r}")


def _record(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}
