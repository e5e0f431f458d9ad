"""Picture files as they come: any mode, rotation and bit depth to RGB, or one sentence that names the file."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hashzoo.errors import HashzooError

# What Pillow decodes itself: for other formats, such as EPS, it starts programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 256_000_000  # a small file can claim more; decoding it would take gigabytes


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this installation of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_picture(path: Path) -> Image.Image:
    """The picture of a file as RGB: the first frame, upright, what is transparent on white.

    Raises:
        HashzooError: it is missing, no picture, cut off, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=formats()) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise HashzooError(
                    f"{path} claims {picture.width} x {picture.height} pixels; leave it out or shrink it"
                )
            picture.load()
            return to_rgb(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise HashzooError(f"{path} does not exist; put it there, or prepare the data set again") from None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HashzooError(
            f"{path} is no readable picture ({error}); mend it or leave its row out", exit_code=1
        ) from error


def why_unreadable(content: bytes) -> str:
    """Why the bytes of a picture file cannot be used, "" where they can: all of it is decoded, at a small scale."""
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return f"claims {picture.width} x {picture.height} pixels"
            picture.draft("RGB", (picture.width // 8, picture.height // 8))
            picture.load()
    except UnidentifiedImageError:
        return "is no picture"
    except Image.DecompressionBombError:
        return "claims more pixels than Pillow decodes"
    except Exception as error:  # Pillow's decoders raise whatever broken content makes them stumble over
        return f"is no readable picture ({type(error).__name__}: {error})"
    return ""


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit values by their upper byte, transparency on white."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        values = np.asarray(picture).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        return Image.fromarray(np.asarray(picture).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        return white.convert("RGB")
    return picture.convert("RGB")
