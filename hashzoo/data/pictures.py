"""Picture files as they come: any mode, rotation and bit depth to RGB, or one sentence that names the file."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hashzoo.errors import HashzooError

# What Pillow decodes itself: for other formats, such as EPS, it starts programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
MAX_PIXELS = 150_000_000  # a small file can claim more; decoding it would take gigabytes


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this installation of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_picture(path: Path) -> Image.Image:
    """The picture of a file as RGB: the first frame, upright, what is transparent on white.

    The format is told by content, not by the file's ending. Colour profiles are not applied, as no encoder's
    preprocessing applies them. What Pillow only warns of (odd metadata) is no fault.

    Raises:
        HashzooError: it is missing, no picture, cut off, or larger than `MAX_PIXELS`.
    """
    try:
        with open(path, "rb") as file:
            return read_picture(file, str(path))
    except FileNotFoundError:
        raise HashzooError(f"{path} does not exist; put it there, or prepare the data set again") from None
    except OSError as error:
        raise HashzooError(_unreadable(str(path), error.strerror or error), exit_code=1) from error


def read_picture(file: IO[bytes], name: str, allowed: Collection[str] = FORMATS, most: int = MAX_PIXELS) -> Image.Image:
    """`open_picture` of an open file, called `name` in messages.

    Args:
        allowed: formats, as Pillow calls them.
        most: pixels that it may have; nothing of a larger one is decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=[known for known in formats() if known in allowed]) as picture:
                if picture.width * picture.height > most:
                    raise HashzooError(_too_large(name, f"{picture.width} x {picture.height}"), exit_code=1)
                picture.load()
                return to_rgb(ImageOps.exif_transpose(picture))
    except HashzooError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit lies a little above ours
        raise HashzooError(_too_large(name, f"more than {most:,}"), exit_code=1) from error
    except Exception as error:  # decoders raise whatever their libraries do; the file is at fault
        reason = "no format that hashzoo reads" if isinstance(error, UnidentifiedImageError) else error
        raise HashzooError(_unreadable(name, reason), exit_code=1) from error


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
    """Any mode to RGB, transparency on white.

    16-bit values become their upper byte. 32-bit integers are taken as 16-bit where one of them exceeds 255,
    floating-point numbers as 0 to 1 where none exceeds 1, and as 0 to 255 otherwise; what is no number is black.
    """
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        wide = picture.mode != "I" or values.max() > 255
        return Image.fromarray((values >> 8 if wide else values).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        numbers = np.nan_to_num(np.asarray(picture, dtype=np.float64), nan=0, posinf=0, neginf=0)
        scaled = numbers * 255 if numbers.max() <= 1 else numbers
        return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        return white.convert("RGB")
    return picture.convert("RGB")


def _too_large(name: str, pixels: str) -> str:
    return f"{name} claims {pixels} pixels; leave it out or shrink it"


def _unreadable(name: str, reason: object) -> str:
    return f"{name} is no readable picture ({reason}); mend it or leave its row out"
