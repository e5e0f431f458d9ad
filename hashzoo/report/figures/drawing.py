"""A drawing: a figure with the words that belong to it, as SVG and PNG."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hashzoo.errors import HashzooError
from hashzoo.report.figures.style import LIGHT, THEMES, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAKER = "hashzoo"
MARK_WITHIN = 1 << 16  # bytes from the start of a file, among which it says who made it
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of one track.

    Attributes:
        name: of its files, without suffix.
        track: id of the track.
        title: one line.
        alt: what is to be seen, in words and numbers, for those who cannot see it.
        caption: how to read it.
        figure: the matplotlib figure, in the colours of the light theme.
    """

    name: str
    track: str
    title: str
    alt: str
    caption: str
    figure: Figure

    def svg(self, theme: str = "light") -> str:
        """One <svg> element, without an XML declaration: a file as it is, or part of a page. Equal data, equal bytes.

        Args:
            theme: "light" or "dark" for a picture that stands alone; "css" for a page: colours are custom properties
                (see `style.css`) with those of the light theme where the page sets none.
        """
        if theme not in (*THEMES, "css"):
            raise HashzooError(f"there is no theme '{theme}'; choose from: css, {', '.join(sorted(THEMES))}")
        file = io.StringIO()
        with house_style(f"{self.track} {self.name}"):
            self.figure.savefig(file, format="svg", metadata=NO_METADATA)
        return _coloured(self._described(_small(file.getvalue())), theme)

    def png(self) -> bytes:
        """The picture in the light theme, for what cannot show SVG."""
        file = io.BytesIO()
        with house_style():
            self.figure.savefig(file, format="png", metadata={"Software": MAKER, "Title": self.title})
        return file.getvalue()

    def _described(self, svg: str) -> str:
        """The title and the text for those who cannot see, and whose file it is."""
        opening, rest = svg.split(">", 1)
        words = escape(f"{self.title}. {self.alt}")
        about = f' role="img" aria-label="{words}" data-maker="{MAKER}" stroke-linejoin="round">'
        return f"{opening}{about}\n <title>{escape(self.title)}</title>\n <desc>{escape(self.alt)}</desc>{rest}"


def is_drawing(path: Path) -> bool:
    """Whether a file is one that `Drawing` gave: both kinds say so near their beginning."""
    with open(path, "rb") as file:
        start = file.read(MARK_WITHIN)
    return f'data-maker="{MAKER}"'.encode() in start or f"Software\0{MAKER}".encode() in start


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """Parts of file names, by label: readable, not too long, and no two of them equal."""
    found: dict[str, str] = {}
    for label in labels:
        readable = re.sub(r"[^a-z0-9._-]+", "-", label.lower())[:60].strip("-.") or "row"
        taken = set(found.values())
        numbered = (f"{readable}-{n}" for n in itertools.count(2))
        found[label] = next(name for name in itertools.chain((readable,), numbered) if name not in taken)
    return found


def _small(svg: str) -> str:
    """What matplotlib writes, less what a page does not need or must not have twice."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.S)
    # A rule for every element would reach out of the picture into the page; the root hands the same down.
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.S)
    svg = re.sub(r"\n\s+", "\n", _unwrapped(svg)).replace("'DejaVu Sans'", FONTS)
    return re.sub(r'( (?:d|x|y|transform)=")([^"]*)"', _rounded, svg)


def _unwrapped(svg: str) -> str:
    """Without the groups that carry nothing but an id: they are most of the elements."""
    kept: list[bool] = []

    def group(tag: re.Match[str]) -> str:
        if tag[0] != "</g>":
            kept.append(not re.fullmatch(r'<g id="[^"]*">', tag[0]))
        return tag[0] if (kept.pop() if tag[0] == "</g>" else kept[-1]) else ""

    return re.sub(r"<g [^>]*>|<g>|</g>", group, svg)


def _rounded(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point, on one line."""
    numbers = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), attribute[2])
    return f'{attribute[1]}{" ".join(numbers.split())}"'


def _coloured(svg: str, theme: str) -> str:
    """The colours of the light theme replaced by those of another."""
    names = {value: name for name, value in LIGHT.items()}

    def colour(found: re.Match[str]) -> str:
        name = names.get(found[0])
        if name is None:
            return found[0]
        return f"var(--figure-{name}, {found[0]})" if theme == "css" else THEMES[theme][name]

    return re.sub(r"(?<=[:] )#[0-9a-f]{6}\b", colour, svg)
