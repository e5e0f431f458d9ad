"""Figures as parts of the page: without the style attributes that its policy forbids, in the colours of its theme."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hashzoo.errors import HashzooError, one_line
from hashzoo.report.figures import Look, css, draw

LIMIT = 4_000_000  # characters of all figures of a page


@dataclass(frozen=True)
class Figure:
    """A figure as the page shows it: `svg` is one element."""

    title: str
    caption: str
    svg: str


class Figures:
    """The figures of a page, and the style sheet that they share."""

    def __init__(self, looks: Mapping[str, Look]):
        self._room = LIMIT
        self._looks = looks
        self._classes: dict[str, str] = {}

    def of(self, item: dict[str, Any]) -> tuple[tuple[Figure, ...], str]:
        """The figures of one track, and why there are none, or not all; "" where nothing is missing."""
        try:
            drawn = [(one.title, one.caption, one.svg("css")) for one in draw(item, self._looks)]
        except HashzooError as error:
            return (), one_line(error)
        kept: list[Figure] = []
        for title, caption, svg in drawn:
            if len(svg) > self._room:
                return tuple(kept), f"the page has no room for {len(drawn) - len(kept)} further figures of this track"
            self._room -= len(svg)
            kept.append(Figure(title, caption, self._classed(svg)))
        return tuple(kept), ""

    def style(self) -> str:
        """The colours of both themes, and what the style attributes said."""
        light, dark = css("light"), css("dark")
        colours = "".join(f"{name}: light-dark({value}, {dark[name]}); " for name, value in light.items())
        rules = "".join(f"figure .{name} {{ {style} }}\n" for style, name in self._classes.items())
        return f"figure {{ {colours}--figure-paper: var(--paper); }}\n{rules}"

    def _classed(self, svg: str) -> str:
        def name(attribute: re.Match[str]) -> str:
            style = html.unescape(attribute[1])
            return f' class="{self._classes.setdefault(style, f"f{len(self._classes)}")}"'

        return re.sub(r' style="([^"]*)"', name, svg)
