"""Bag of words: the text features of the classical methods."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashzoo.encoders.base import Encoder
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

WORD = re.compile(r"\w+")


class BagOfWords(Encoder):
    """Which of the most frequent words of the training texts occur in a text: 0 or 1 each.

    The binary vectors are those of DCMH (Jiang & Li, CVPR 2017) and of the methods after it. The
    vocabulary is learned from the training texts alone and is part of `state_dict`. The width is
    always `size`; the places past the end of a smaller vocabulary stay 0.

    Args:
        size: the number of words kept, those that occur in most texts first; ties in
            alphabetical order.
        min_count: words that occur in fewer training texts are left out.
    """

    modality = "text"

    def __init__(self, size: int = 2000, min_count: int = 2):
        super().__init__()
        for name, value in (("size", size), ("min_count", min_count)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise HashzooError(f"{name} of encoder 'bow' must be a whole number from 1, not {value!r}")
        self.dim, self.min_count = size, min_count
        self.words: tuple[str, ...] = ()
        self._place: dict[str, int] = {}
        self.files = []
        self.eval()

    def fit(self, items: Iterable[str]) -> None:
        counts = Counter(word for text in items for word in set(_words(text)))
        ranked = sorted((word for word, n in counts.items() if n >= self.min_count), key=lambda w: (-counts[w], w))
        if not ranked:
            raise HashzooError(
                f"encoder 'bow' found no word that occurs in {self.min_count} training texts; "
                f"lower it with --set text.min_count=1, or choose another text encoder"
            )
        self._set_words(ranked[: self.dim])

    def prepare(self, item: str) -> Tensor:
        """A text as (size,) uint8, 1 where the word occurs; all 0 when it has no known word."""
        self._check_fitted()
        row = np.zeros(self.dim, dtype=np.uint8)
        row[[self._place[word] for word in _words(item) if word in self._place]] = 1
        return torch.from_numpy(row)

    def forward(self, x: Tensor) -> Tensor:
        """(B, size) uint8 to (B, size) float32."""
        return x.float()

    def card(self) -> dict[str, Any]:
        self._check_fitted()
        return {
            "encoder": "bow",
            "size": self.dim,
            "min_count": self.min_count,
            "words": len(self.words),
            "vocabulary": digest(list(self.words)),
        }

    def get_extra_state(self) -> Tensor:
        """The vocabulary as bytes, so that safetensors can hold it."""
        return torch.frombuffer(bytearray(json.dumps(self.words).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        self._set_words(json.loads(bytes(state.cpu().numpy())))

    def _set_words(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self._place = {word: place for place, word in enumerate(self.words)}

    def _check_fitted(self) -> None:
        if not self.words:
            raise HashzooError("encoder 'bow' has no vocabulary yet; call fit(texts) with the training texts first")


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())
