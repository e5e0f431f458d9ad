"""What SODA's teacher sees of the labels: prompts through the text tower, or the 0/1 vectors themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hashzoo import HashzooError, Job
from hashzoo.model import HashHead, Tower


def label_side(job: Job, sets: Tensor, labels: str, prompt: str, join: str) -> tuple[nn.Module, Tensor]:
    """The teacher's label tower, and what it takes for each distinct label set, (P, ...).

    Args:
        job: its text encoder reads the prompts.
        sets: (P, C) in {0, 1}.
        labels, prompt, join: see `SodaTrainer`.
    """
    if labels != "vectors" and job.text_inputs is not None:
        named = sets if join == "joined" else torch.eye(len(job.classes))
        prompts = job.text_inputs(label_prompts(named, job.classes, prompt))
        if labels == "prompts" or _tells_apart(prompts):
            tower = job.towers().text
            if join == "joined":
                return tower, prompts
            return MeanOfPrompts(tower, prompts), sets / sets.sum(dim=1, keepdim=True).clamp_min(1)
    elif labels == "prompts":
        raise HashzooError("the texts are given features, so that no prompt can be encoded: set trainer.labels=vectors")
    widths = {"pooled": len(job.classes)}
    return Tower(HashHead(widths, job.bits), widths).to(job.device), sets


def label_prompts(sets: Tensor, classes: Sequence[str], prompt: str) -> list[str]:
    """One prompt a label set, (P, C) in {0, 1}: each set's prompt is encoded once, however many rows have it."""
    prompts = []
    for labels in sets.tolist():
        names = [name.replace("_", " ") for name, on in zip(classes, labels, strict=True) if on]
        prompts.append(prompt.replace("{}", ", ".join(names)))
    return prompts


def _tells_apart(prompts: Tensor) -> bool:
    """Whether most prompts differ to the text encoder: to a bag of words without label names all are alike."""
    return 2 * len(prompts.flatten(1).unique(dim=0)) >= len(prompts)


class MeanOfPrompts(nn.Module):
    """A text tower whose head sees the mean of several prompts' embeddings.

    Args:
        tower: a text tower; its encoder, where it is trained along, reads each prompt once a step.
        prompts: what the tower takes for the prompt of each single label, (C, ...).
    """

    prompts: Tensor

    def __init__(self, tower: nn.Module, prompts: Tensor):
        super().__init__()
        assert isinstance(tower, Tower)
        self.tower = tower
        self.register_buffer("prompts", prompts)

    def forward(self, weights: Tensor) -> Tensor:
        """Real-valued codes, (B, bits), of label sets as weights that add up to one, (B, C)."""
        embeddings = self.tower.features(self.prompts)
        return self.tower.head({name: weights @ each for name, each in embeddings.items()})
