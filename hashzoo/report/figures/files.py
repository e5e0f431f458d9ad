"""Figures in a folder: <folder>/<track>/<figure>.svg and .png."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hashzoo.errors import HashzooError
from hashzoo.report.figures.drawing import Drawing, is_drawing
from hashzoo.storage.files import atomic_write


def write(drawings: Iterable[Drawing], folder: Path) -> list[Path]:
    """Write each drawing as SVG and as PNG, and say where.

    Raises HashzooError, before anything is written, where a file that hashzoo did not draw stands in the way.
    """
    files = {
        folder / drawing.track / f"{drawing.name}{suffix}": content
        for drawing in drawings
        for suffix, content in ((".svg", drawing.svg().encode()), (".png", drawing.png()))
    }
    for path in files:
        if path.exists() and not is_drawing(path):
            raise HashzooError(f"{path} was not drawn by hashzoo; move it away, or name another folder with --figures")
    for path, content in files.items():
        with atomic_write(path) as file:
            file.write(content)
    return list(files)
