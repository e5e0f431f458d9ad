"""The data set `digits-like`: two arrays, made when it is constructed."""

from __future__ import annotations

import numpy as np
from hashzoo import Dataset, Splits
from PIL import Image

from hashzoo_arrays.drawing import WORDS, make

VARIANTS = ("clean", "noisy")


class DigitsLike(Dataset):
    """Pictures of one to three seven-segment digits, captions that name them, and the digits as labels.

    Nothing is stored: the arrays are drawn from a fixed seed in a fraction of a second.

    Args:
        variant: "clean" or "noisy" (`digits-like/noisy`): grain, damaged pixels and incomplete captions.
        rows: how many pairs, from 100.
    """

    classes = WORDS
    licence = "Drawn by hashzoo-arrays, Apache-2.0 like its code; no rights in pictures and captions are claimed."

    def __init__(self, variant: str = "clean", rows: int = 800):
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
        if rows < 100:
            raise ValueError(f"rows must be 100 or more, so that every digit is in every split, not {rows}")
        self.name = "digits-like" if variant == "clean" else f"digits-like/{variant}"
        self.pictures, self.captions, self.labels = make(rows, noisy=variant == "noisy", seed=0)
        fifth, tenth = rows // 5, rows // 10
        query, val, train = np.split(np.arange(rows), [fifth, fifth + tenth])
        self.splits = Splits(
            train=train,
            query=query,
            database=np.concatenate([val, train]),
            rule="rows are drawn independently but for the first digit, which goes round: the first fifth are queries, "
            "the next tenth val, all others train; the database is all but the queries",
            val=val,
        )

    def image(self, row: int) -> Image.Image:
        """The picture of a row, 48 by 28 pixels."""
        return Image.fromarray(self.pictures[row])

    def text(self, row: int) -> str:
        """The caption of a row."""
        return str(self.captions[row])
