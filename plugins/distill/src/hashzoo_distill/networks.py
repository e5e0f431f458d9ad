"""The two-layer networks of UGACH and SKDCH, and what a teacher sees of a job's rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hashzoo import Job

WHOLE = 2**26  # numbers of features up to which they are held: 256 MB


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

    def __init__(self, features: Mapping[str, Tensor | Features], bits: int, hidden: int, classes: int = 0):
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
        head = self.heads[role]
        assert isinstance(head, SigmoidHead)
        found = head.last.weight.new_empty(len(self.features[role]), head.last.out_features)
        for part in torch.arange(len(found)).split(1024):
            found[part[0] : part[-1] + 1] = self(role, part)
        return found


class Features:
    """Standardised features of all training rows, (n, width), which are read from the job when they are taken.

    Args:
        job: whose rows they are of.
        role: of the encoder, one of the method's further ones.
    """

    def __init__(self, job: Job, role: str):
        self._job, self._role, self._standardised = job, role, job.standardised(role)
        self.shape, self.device = (len(job.train), job.widths[role]["pooled"]), job.device

    def __len__(self) -> int:
        return self.shape[0]

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        """Of the rows with these numbers, (...): (..., width)."""
        taken = self._standardised(self._job.train.extra(self._role, rows.flatten()))
        return taken.unflatten(0, rows.shape)


def teacher_features(job: Job) -> dict[str, Tensor | Features]:
    """What a teacher sees: standardised features of all training rows by modality, of its own encoders.

    They are held where they are small.
    """
    found: dict[str, Tensor | Features] = {}
    for modality in ("image", "text"):
        features = Features(job, f"teacher_{modality}")
        small = features.shape[0] * features.shape[1] <= WHOLE
        found[modality] = features[torch.arange(len(features))] if small else features
    return found
