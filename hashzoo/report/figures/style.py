"""The house style: sizes, colours by their part in a figure, and the look of each row of the tables.

The eight series colours differ from each other for the three kinds of colour blindness (simulated after Machado,
Oliveira and Fernandes 2009) and from the paper by a contrast of 3 or more. Line style and marker tell them apart in
grey. A figure is drawn in the colours of "light"; other themes replace them one by one in the SVG.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hashzoo.benches.benchmark import FLOOR_METHOD
from hashzoo.errors import HashzooError
from hashzoo.report.table import label_of

WIDTH = 4.8  # inches: a column of print; scaled to the width of a phone its text can still be read
TEXT = 8.5  # points
DPI = 180  # of PNG files

LIGHT = {
    **{"ink": "#1b1f24", "muted": "#59636e", "grid": "#dde1e6", "paper": "#ffffff"},
    **{"series-1": "#0650f3", "series-2": "#9b0000", "series-3": "#008d59", "series-4": "#b8479a"},
    **{"series-5": "#69a13c", "series-6": "#2998eb", "series-7": "#651a23", "series-8": "#081d4f"},
    **{"heat-1": "#f3f7fb", "heat-2": "#dce9f5", "heat-3": "#c3daee", "heat-4": "#a8cae7", "heat-5": "#8ab9df"},
    **{"heat-6": "#6ca7d6", "heat-7": "#4f95cc"},
}
DARK = {
    **{"ink": "#e8ebef", "muted": "#a3adb8", "grid": "#343b43", "paper": "#15181c"},
    **{"series-1": "#6f9bff", "series-2": "#dd745e", "series-3": "#00ffb7", "series-4": "#ca8bb8"},
    **{"series-5": "#9edc63", "series-6": "#91d8ff", "series-7": "#c0707c", "series-8": "#f2f9ff"},
    **{"heat-1": "#1b2128", "heat-2": "#1d2d3d", "heat-3": "#1f3952", "heat-4": "#214668", "heat-5": "#23537e"},
    **{"heat-6": "#266095", "heat-7": "#2a6eab"},
}
THEMES = {"light": LIGHT, "dark": DARK}
SERIES = tuple(value for name, value in LIGHT.items() if name.startswith("series-"))
HEAT = tuple(value for name, value in LIGHT.items() if name.startswith("heat-"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (2.5, 1)), (0, (7, 1.5, 1.5, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class Look:
    """How one row of a table is drawn in every figure of a report."""

    colour: str
    marker: str
    dashes: Any

    def line(self, **changes: Any) -> dict[str, Any]:
        """Keywords of a line with a few markers on it."""
        return {"color": self.colour, "linestyle": self.dashes, "marker": self.marker, **changes}


def looks(tracks: Iterable[dict[str, Any]]) -> dict[str, Look]:
    """A look for each row label of some tracks, in the order of the tables; random codes are grey in all of them."""
    methods = {label_of(r, item["results"]): r["method"] for item in tracks for r in item["results"]}
    found, number = {}, 0
    for label, method in methods.items():
        if method == FLOOR_METHOD:
            found[label] = Look(LIGHT["muted"], "", (0, (1, 1.5)))
            continue
        # Eight by eight the dashes shift, so that rows of one colour and marker still differ in their line.
        dashes = DASHES[(number + number // len(SERIES)) % len(DASHES)]
        found[label] = Look(SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)], dashes)
        number += 1
    return found


def css(theme: str) -> dict[str, str]:
    """The custom properties of a theme, which `Drawing.svg("css")` asks for: {"--figure-ink": "#1b1f24", ...}."""
    return {f"--figure-{name}": value for name, value in THEMES[theme].items()}


@contextlib.contextmanager
def house_style(salt: str = "") -> Iterator[None]:
    """Draw, or write, in the house style, whatever the user's matplotlibrc says."""
    try:
        import matplotlib
    except ImportError as error:
        raise HashzooError("figures need matplotlib; type: pip install 'hashzoo[figures]'") from error

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": f"hashzoo {salt}"})
        yield


_STYLE: dict[Any, Any] = {
    # Comes with matplotlib, so that every machine sets the same text; wider than the fonts that an SVG may be shown in.
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a label may hold any character
    **{"font.size": TEXT, "axes.titlesize": TEXT, "axes.labelsize": TEXT, "legend.fontsize": TEXT},
    **{"xtick.labelsize": TEXT - 1, "ytick.labelsize": TEXT - 1, "figure.titlesize": TEXT + 1},
    **{"figure.labelsize": TEXT, "figure.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 3},
    **{"text.color": LIGHT["ink"], "axes.labelcolor": LIGHT["ink"], "axes.edgecolor": LIGHT["muted"]},
    **{"xtick.color": LIGHT["muted"], "ytick.color": LIGHT["muted"], "grid.color": LIGHT["grid"]},
    **{"figure.facecolor": LIGHT["paper"], "axes.facecolor": "none", "savefig.facecolor": LIGHT["paper"]},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.grid": True},
    **{"grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.3, "lines.markersize": 3.6},
    **{"xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
    **{"legend.frameon": False, "legend.handlelength": 2.6, "legend.columnspacing": 1.4, "legend.borderaxespad": 0.2},
    **{"svg.fonttype": "none", "path.simplify": False, "savefig.dpi": DPI},
}
