"""The two-layer networks of UGACH and SKDCH, and what a teacher sees of a job's rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hashzoo import Job


class SigmoidHead(nn.Module):
    """Linear, tanh, linear: the logits of relaxed codes sigmoid(h) in (0, 1); h > 0 where the relaxed bit is over 1/2.

    Args:
        widths: width of each named input; this head reads "pooled" alone.
        bits: code length.
        hidden: width of the hidden layer; 8192 in the papers, over features of 4096.
    """

    def __init__(self, widths: Mapping[str, int], bits: int, hidden: int = 512):
        super().__init__()
        self.first = nn.Linear(widths["pooled"], hidden)
        self.last = nn.Linear(hidden, bits)

    def hidden(self, x: Tensor) -> Tensor:
        """What the last layer takes, (..., hidden), of features, (..., dim)."""
        return torch.tanh(self.first(x))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.last(self.hidden(x["pooled"]))


class CodeNetworks(nn.Module):
    """A teacher's or a generator's network of each modality, over the features of all training rows.

    Args:
        features: standardised features (n, width) of "image" and "text".
        bits, hidden: of the networks.
        classes: where not 0, networks also predict so many labels from the hidden layer.
    """

    def __init__(self, features: Mapping[str, Tensor], bits: int, hidden: int, classes: int = 0):
        super().__init__()
        self.features = dict(features)
        self.heads = nn.ModuleDict({r: SigmoidHead({"pooled": x.shape[1]}, bits, hidden) for r, x in features.items()})
        self.labels = nn.ModuleDict({r: nn.Linear(hidden, classes) for r in features if classes})
        self.to(next(iter(features.values())).device)

    def forward(self, role: str, rows: Tensor) -> Tensor:
        """Relaxed codes in (0, 1), (..., bits), of the rows with these numbers, (...)."""
        return self.heads[role]({"pooled": self.features[role][rows]}).sigmoid()

    def label_logits(self, role: str, rows: Tensor) -> Tensor:
        """Logits of the labels, (..., classes), of the rows with these numbers, (...)."""
        head = self.heads[role]
        assert isinstance(head, SigmoidHead)
        return self.labels[role](head.hidden(self.features[role][rows]))

    @torch.no_grad()
    def codes(self, role: str) -> Tensor:
        """Relaxed codes of all rows, (n, bits)."""
        rows = torch.arange(len(self.features[role]))
        return torch.cat([self(role, part) for part in rows.split(1024)])


@torch.no_grad()
def teacher_features(job: Job) -> dict[str, Tensor]:
    """What a teacher sees: standardised features of all training rows by modality, (n, width), of its own encoders."""
    features, rows = {}, torch.arange(len(job.train))
    for modality in ("image", "text"):
        role = f"teacher_{modality}"
        standardised = job.standardised(role)
        features[modality] = torch.cat([standardised(job.train.extra(role, part)) for part in rows.split(1024)])
    return features
