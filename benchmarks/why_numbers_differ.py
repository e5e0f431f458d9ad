"""The same codes under every protocol: the table of docs/why-your-number-differs.md.

    python benchmarks/why_numbers_differ.py

Labels and codes are synthetic and seeded, so that anyone gets the same table: 400 queries and 18,000 items with 24
labels of very unequal frequency; codes are the signs of a projection of the labels plus noise. "sparse" has 81
labels, and nearly one query in four has none.
"""

from __future__ import annotations

import numpy as np

from hashzoo.evaluator import Protocol, evaluate, floor

QUERIES, ROWS = 400, 18_000
COLUMNS = {
    "`expected`": ("expected", None),
    "`stable`": ("stable", None),
    "`pessimistic`": ("pessimistic", None),
    "`optimistic`": ("optimistic", None),
    "`dcmh@k`": ("dcmh", "k"),
    "`deephash@k`": ("deephash", "k"),
    "`hashnet@k`": ("hashnet", "k"),
    "`textbook@k`": ("textbook", "k"),
    "`textbook@k`, over R": (Protocol(denominator="R"), "k"),
}


def draw_labels(rng: np.random.Generator, classes: int, mean_labels: float) -> np.ndarray:
    """(QUERIES + ROWS, classes) bool with frequencies that fall as 1 / rank."""
    share = 1 / np.arange(1, classes + 1)
    share *= mean_labels / share.sum()
    return rng.random((QUERIES + ROWS, classes)) < np.minimum(share, 0.6)


def with_codes(rng: np.random.Generator, labels: np.ndarray, bits: int) -> tuple[np.ndarray, ...]:
    """Query codes, database codes, query labels, database labels; the codes know something of the labels."""
    noise = rng.standard_normal((len(labels), bits))
    codes = labels @ rng.standard_normal((labels.shape[1], bits)) + 1.5 * noise > 0
    return codes[:QUERIES], codes[QUERIES:], labels[:QUERIES], labels[QUERIES:]


def cells(case: tuple[np.ndarray, ...], k: int) -> list[str]:
    """mAP in every column, and the floor."""
    values = [
        evaluate(*case, protocol=protocol, k=k if cut else None, metrics=["map"]).map
        for protocol, cut in COLUMNS.values()
    ]
    return [f"{value:.4f}" for value in (*values, floor(*case[2:]))]


def table() -> list[str]:
    """The lines of the table."""
    rng = np.random.default_rng(2017)
    rows: list[tuple[str, int, tuple[np.ndarray, ...]]] = []
    labels = draw_labels(rng, 24, 2.8)
    for bits in (16, 64):
        case = with_codes(rng, labels, bits)
        rows += [(f"{bits} bits", k, case) for k in (50, 5000)]
        order = np.argsort(-case[3].sum(axis=1), kind="stable")
        rows.append((f"{bits} bits, most-labelled rows first", 50, (case[0], case[1][order], case[2], case[3][order])))
        rows.append((f"{bits} bits, fewest first", 50, (case[0], case[1][order[::-1]], case[2], case[3][order[::-1]])))
    case = with_codes(rng, draw_labels(rng, 81, 1.5), 32)
    rows += [("sparse, 32 bits", k, case) for k in (100, 5000)]
    lines = ["| codes | k | " + " | ".join(COLUMNS) + " | floor |", "|---|---|" + "---|" * (len(COLUMNS) + 1)]
    return lines + [f"| {name} | {k} | " + " | ".join(cells(case, k)) + " |" for name, k, case in rows]


if __name__ == "__main__":
    print("\n".join(table()))
