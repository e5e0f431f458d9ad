"""Picture files as they come: any mode, rotation and bit depth to RGB, or one sentence that names the file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hashzoo.errors import HashzooError

MAX_PIXELS = 150_000_000  # a small file can claim more; decoding it would take gigabytes
DRAWINGS = ("EPS", "WMF")  # Pillow hands these to other programs


def open_picture(path: Path) -> Image.Image:
    """The picture of a file as RGB: the first frame, upright, what is transparent on white.

    The format is told by content, not by the file's ending. Colour profiles are not applied, as no encoder's
    preprocessing applies them. What Pillow only warns of (odd metadata) is no fault.

    Raises:
        HashzooError: it is missing, no picture, cut off, or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise HashzooError(_too_large(path, f"{picture.width} x {picture.height}"), exit_code=1)
                if picture.format in DRAWINGS:
                    raise HashzooError(f"{path} is a drawing ({picture.format}); save it as PNG", exit_code=1)
                picture.load()
                return to_rgb(ImageOps.exif_transpose(picture))
    except HashzooError:
        raise
    except FileNotFoundError:
        raise HashzooError(f"{path} does not exist; put it there, or prepare the data set again") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit lies a little above ours
        raise HashzooError(_too_large(path, f"more than {MAX_PIXELS:,}"), exit_code=1) from error
    except Exception as error:  # decoders raise whatever their libraries do; the file is at fault
        reason = "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise HashzooError(
            f"{path} is no readable picture ({reason}); mend it or leave its row out", exit_code=1
        ) from error


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


def _too_large(path: Path, pixels: str) -> str:
    return f"{path} claims {pixels} pixels; leave it out or shrink it"
