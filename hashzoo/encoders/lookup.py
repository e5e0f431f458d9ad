"""Encoders that look features up by row instead of computing them from raw items."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from torch import Tensor

from hashzoo.encoders.base import Encoder
from hashzoo.errors import HashzooError
from hashzoo.storage.arrays import array_sha256

if TYPE_CHECKING:
    from hashzoo.data import Dataset


class Lookup(Encoder):
    """Features that exist already, one row an item: always frozen, and of no use for what is not in the data set."""

    @abstractmethod
    def open(self, dataset: Dataset) -> np.ndarray:
        """The features of every row, (N, dim) float32 or float16, perhaps memory-mapped; sets `dim`.

        Raises:
            HashzooError: they are not there, or do not belong to this data set.
        """

    def prepare(self, item: Any) -> NoReturn:
        raise HashzooError(
            f"features of {self.modality}s are looked up here, so that nothing new can be encoded; "
            f"choose an encoder that computes them, such as --encoders lite"
        )

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Given(Lookup):
    """The features that a data set brings itself, such as the SIFT and topic vectors of `wiki`."""

    def __init__(self, *, modality: str):
        super().__init__()
        self.modality = modality
        self._digest = ""

    def open(self, dataset: Dataset) -> np.ndarray:
        if self.modality not in dataset.features:
            raise HashzooError(
                f"'{dataset.name}' brings no features of {self.modality}s; choose an encoder, such as --encoders lite"
            )
        features = dataset.features[self.modality]
        self.dim = features.shape[1]
        self._digest = array_sha256(features)
        return features

    def card(self) -> dict[str, Any]:
        return {"encoder": "given", "dim": self.dim, "features": self._digest}
