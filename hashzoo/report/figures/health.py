"""Are the bits any good? How often each is one, and how much they repeat each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hashzoo.codes import CORRELATION_WORK, Codes
from hashzoo.report.figures.drawing import Drawing
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.panels import DASHED, every, finished, legend, listed, panels, thin

ROLES = ("image", "text")
STEPS = np.linspace(0, 1, 51)  # correlations at which the curve of their shares is drawn


def draw_health(material: Material) -> Iterable[Drawing]:
    """Two drawings of the database codes, a row a code length, a column a modality; of each row its first seed."""
    found: dict[tuple[str, int, str], tuple[np.ndarray, np.ndarray]] = {}
    for label in material.labels:
        for bits in material.bits:
            stored = next((codes for run in material.runs(label, bits) if (codes := material.codes(run))), None)
            if stored is None:
                continue
            for role in ROLES:
                rows = _evenly(stored[f"{role}_database"])
                found[label, bits, role] = share_of_ones(rows), pair_correlations(rows)
    if found:
        yield _balance(material, {key: shares for key, (shares, _) in found.items()})
        yield _correlation(material, {key: pairs for key, (_, pairs) in found.items()})


def share_of_ones(ones: np.ndarray) -> np.ndarray:
    """(bits,) float64 of (N, bits) bool, ascending."""
    return np.sort(ones.mean(axis=0))


def pair_correlations(ones: np.ndarray) -> np.ndarray:
    """(P,) absolute Pearson correlations of all pairs of bits that are not constant, ascending, of (N, bits) bool."""
    varying = ones[:, ones.any(axis=0) & ~ones.all(axis=0)]
    if varying.shape[1] < 2:
        return np.empty(0)
    correlation = np.abs(np.corrcoef(varying.T.astype(np.float32)))
    return np.sort(correlation[np.triu_indices(len(correlation), k=1)])


def _evenly(codes: Codes) -> np.ndarray:
    """(N, bits) bool, of evenly spaced rows where all of them would take too long."""
    return codes[:: max(1, -(-len(codes) * codes.bits**2 // CORRELATION_WORK))].unpack()


def _balance(material: Material, shares: dict[tuple[str, int, str], np.ndarray]) -> Drawing:
    title = f"Balance of the bits, {material.title}"
    curves = {key: ((np.arange(len(s)) + 0.5) / len(s), s) for key, s in shares.items()}
    figure = _draw(material, title, "bits, in that order", "share of ones", curves, half=True)
    said = [
        f"{label} {bits} bits {role} {share.min():.2f} to {share.max():.2f}"
        for (label, bits, role), share in shares.items()
        if bits == material.bits[-1]
    ]
    return Drawing(
        "bit-balance",
        material.id,
        title,
        f"Line charts of the share of database codes in which a bit is one. {listed(said)}.",
        "In how many of the database codes each bit is one, ascending. A bit that splits the database in half has a "
        f"share of 0.5 (dashed); one at 0 or 1 is constant and says nothing.{_of_seed(material)}",
        figure,
    )


def _correlation(material: Material, pairs: dict[tuple[str, int, str], np.ndarray]) -> Drawing:
    title = f"Correlation between bits, {material.title}"
    curves = {
        key: (STEPS, 1 - np.searchsorted(values, STEPS, side="right") / len(values))
        for key, values in pairs.items()
        if len(values)
    }
    figure = _draw(material, title, "absolute correlation r of two bits", "share above r", curves)
    said = [
        f"{label} {bits} bits {role} {pairs[label, bits, role].mean():.2f}"
        for (label, bits, role) in curves
        if bits == material.bits[-1]
    ]
    return Drawing(
        "bit-correlation",
        material.id,
        title,
        f"Line charts of the correlation between bits. Mean over pairs, without sign: {listed(said)}.",
        "A curve that falls at once belongs to bits that each say something of their own. Share: of the pairs of "
        f"bits that are not constant, in database codes.{_of_seed(material)}",
        figure,
    )


def _draw(
    material: Material, title: str, x: str, y: str, curves: dict[tuple[str, int, str], Any], half: bool = False
) -> Any:
    figure, axes = panels(len(material.bits), len(ROLES), title, x, y)
    samples: dict[str, Any] = {}
    for row, bits in enumerate(material.bits):
        for column, role in enumerate(ROLES):
            panel = axes[row, column]
            panel.set_title(f"{role} codes, {bits} bits")
            panel.set_xlim(0, 1)
            panel.set_ylim(-0.02, 1.02)
            if half:
                panel.axhline(0.5, **DASHED)
            for number, label in enumerate(material.labels):
                if (label, bits, role) in curves:
                    points = thin(*curves[label, bits, role])
                    look = material.looks[label].line(markevery=every(len(points[0]), number))
                    (samples[label],) = panel.plot(*points, **look)
    legend(figure, [(line, label) for label, line in samples.items()])
    return finished(figure)


def _of_seed(material: Material) -> str:
    return " Codes of the first seed." if material.seeds > 1 else ""
