"""A contact sheet: queries and the pictures of their hits in one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.storage.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

SIDE, GAP, LINE = 144, 12, 16  # pixels: of a picture, between things, of a line of words
ACROSS = 10  # pictures side by side
MOST = 100_000_000  # pixels of a sheet
PAPER, CARD, INK, QUIET = "#ffffff", "#f5f7f9", "#1b2229", "#55606c"


def write_sheet(path: Path, rows: Sequence[tuple[Any, Sequence[tuple[Any, str, str]]]]) -> None:
    """Draw a band for each query: on the left what was asked, then its hits with two lines under each.

    Args:
        path: of the PNG file, which is written whole or not at all.
        rows: a query, and of each hit what is shown, the first line and the second. A query, and what is shown, is a
            picture, or else a text.
    """
    from PIL import Image, ImageDraw

    font = _font(13)
    across = max(1, min(ACROSS, max((len(hits) for _, hits in rows), default=1)))
    bands = [max(1, -(-len(hits) // across)) for _, hits in rows]
    cell = SIDE + 2 * LINE + GAP
    size = GAP + (across + 1) * (SIDE + GAP) + GAP, GAP + sum(bands) * cell + len(rows) * GAP
    if size[0] * size[1] > MOST:
        raise HashzooError(f"the sheet would have {size[0]:,} x {size[1]:,} pixels; ask for fewer queries or hits")
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for (query, hits), band in zip(rows, bands, strict=True):
        _place(sheet, draw, font, query, GAP, top)
        draw.line([(SIDE + 2 * GAP, top), (SIDE + 2 * GAP, top + band * cell - GAP)], fill=QUIET)
        for number, (shown, first, second) in enumerate(hits):
            left = 2 * GAP + (1 + number % across) * (SIDE + GAP)
            upper = top + number // across * cell
            _place(sheet, draw, font, shown, left, upper)
            for place, (words, ink) in enumerate(((first, INK), (second, QUIET))):
                draw.text((left, upper + SIDE + 2 + place * LINE), _cut(words, font, SIDE), fill=ink, font=font)
        top += band * cell + GAP
    content = io.BytesIO()
    sheet.save(content, "png")
    with atomic_write(path) as file:
        file.write(content.getvalue())


def _place(sheet: Image, draw: Any, font: Any, shown: Any, left: int, top: int) -> None:
    """A picture, made to fit, or a text, in a square."""
    draw.rectangle([left, top, left + SIDE - 1, top + SIDE - 1], fill=CARD)
    if isinstance(shown, str):
        for number, line in enumerate(_wrapped(shown, font, SIDE - 12, SIDE // LINE - 1)):
            draw.text((left + 6, top + 6 + number * LINE), line, fill=INK, font=font)
        return
    small = shown.copy()
    small.thumbnail((SIDE, SIDE))
    sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrapped(text: str, font: Any, width: int, most: int) -> list[str]:
    """Lines of a text that are no wider than `width` pixels, at most `most`."""
    lines: list[str] = []
    for word in text.split():
        wider = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(wider) <= width:
            lines[-1] = wider
        elif len(lines) == most:
            lines[-1] = _cut(f"{lines[-1]} {word}", font, width)
            break
        else:
            lines.append(_cut(word, font, width))
    return lines


def _cut(text: str, font: Any, width: int) -> str:
    """A text that is no wider than `width` pixels, with an ellipsis where something is missing."""
    text = " ".join(text.split())[:width]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
