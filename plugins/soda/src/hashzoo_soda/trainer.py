"""The two stages of SODA (Sun, Chen, Yan, arXiv 2510.09664).

The structure (label prompts, Phi_1 and Phi_2, image codes that are frozen in the second stage) is
the paper's. Its constants are not available to us: every default below is our reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hashzoo import HashzooError, Job, Towers, Trainer, evaluate
from hashzoo.losses import pair_likelihood, quantisation, shared_labels, sign
from hashzoo.model import HashHead, Tower, encode
from hashzoo.train import Descent

TEACHER_ROWS = 2000  # training rows on which the teacher is measured after stage one


class SodaTrainer(Trainer):
    """Stage one fits image and label codes to each other, stage two fits text codes to the frozen image codes.

    Args:
        alpha: weight of Phi_2, the binarisation penalty, in stage one.
        beta: weight of the binarisation penalty in stage two.
        teacher_epochs: passes of stage one.
        student_epochs: passes of stage two.
        batch: rows a step; pairs are taken inside the batch.
        lr: AdamW's learning rate of the heads, with cosine decay in each stage.
        encoder_lr: the same for encoders that are trained along.
        weight_decay: AdamW's.
        prompt: the label prompt; {} stands for the label names, joined by commas. "An image of" is the paper's.
        labels: what the label tower sees: "prompts" (the paper), "vectors" (the 0/1 labels themselves, through one
            hidden layer), or "auto": prompts, and vectors where the texts are given features, among which a
            prompt has no place.
        balanced_pairs: similar and dissimilar pairs weigh alike in Phi_1. This departs from the plain mean,
            which does worse where few pairs are similar.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 0.1,
        teacher_epochs: int = 40,
        student_epochs: int = 40,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
        prompt: str = "An image of {}.",
        labels: str = "auto",
        balanced_pairs: bool = True,
    ):
        if "{}" not in prompt:
            raise ValueError("prompt needs {} where the label names go")
        if labels not in ("auto", "prompts", "vectors"):
            raise ValueError(f"labels is auto, prompts or vectors, not '{labels}'")
        self.alpha, self.beta = alpha, beta
        self.teacher_epochs, self.student_epochs = teacher_epochs, student_epochs
        self.batch, self.lr, self.encoder_lr, self.weight_decay = batch, lr, encoder_lr, weight_decay
        self.prompt, self.labels, self.balanced_pairs = prompt, labels, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        sets, set_of = job.train.labels.unique(dim=0, return_inverse=True)
        label_tower, label_inputs = self._label_tower(job, sets)

        # Stage one, the teacher: image codes and label codes in one Hamming space.
        descent = self._descent([towers.image, label_tower], self.teacher_epochs)
        for epoch in range(1, self.teacher_epochs + 1):
            for batch in job.batches(self.batch):
                image = towers.image(batch.image)
                label = label_tower(label_inputs[set_of[batch.index]])
                shared = sign((image + label).detach())  # the b that minimises Phi_2
                terms = {
                    "likelihood": self._likelihood(image, label, batch.labels),
                    "binarisation": self.alpha * (quantisation(image, shared) + quantisation(label, shared)),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="teacher", epoch=epoch, **descent.end_epoch())

        # Between the stages the image codes are frozen; they are all that the student sees of the images.
        rows = torch.arange(len(job.train))
        image_codes = torch.cat([sign(encode(towers.image, job.train.image(part))) for part in rows.split(4096)])
        job.log(
            stage="teacher",
            image_to_label_map=_teacher_map(job, image_codes, encode(label_tower, label_inputs)[set_of.cpu()]),
        )
        image_codes = image_codes.to(job.device)

        # Stage two, the student: text codes meet the image codes.
        descent = self._descent([towers.text], self.student_epochs)
        for epoch in range(1, self.student_epochs + 1):
            for batch in job.batches(self.batch):
                fixed = image_codes[batch.index]
                text = towers.text(batch.text)
                terms = {
                    "likelihood": self._likelihood(fixed, text, batch.labels),
                    "binarisation": self.beta * quantisation(text, fixed),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="student", epoch=epoch, **descent.end_epoch())
        return towers

    def _label_tower(self, job: Job, sets: Tensor) -> tuple[torch.nn.Module, Tensor]:
        """The teacher's label tower, and what it takes for each label set, (P, ...)."""
        if self.labels != "vectors" and job.text_inputs is not None:
            return job.towers().text, job.text_inputs(label_prompts(sets, job.classes, self.prompt))
        if self.labels == "prompts":
            raise HashzooError(
                "the texts are given features, so that no prompt can be encoded: set trainer.labels=vectors"
            )
        widths = {"pooled": len(job.classes)}
        return Tower(HashHead(widths, job.bits), widths).to(job.device), sets

    def _likelihood(self, one: Tensor, other: Tensor, labels: Tensor) -> Tensor:
        """Phi_1, with theta = <h, h'> / 2."""
        return pair_likelihood(one @ other.T / 2, shared_labels(labels, labels), self.balanced_pairs)

    def _descent(self, modules: list[torch.nn.Module], epochs: int) -> Descent:
        return Descent.adamw(modules, epochs, self.lr, self.encoder_lr, self.weight_decay)


def label_prompts(sets: Tensor, classes: Sequence[str], prompt: str) -> list[str]:
    """One prompt a label set, (P, C) in {0, 1}: each set's prompt is encoded once, however many rows have it."""
    prompts = []
    for labels in sets.tolist():
        names = [name.replace("_", " ") for name, on in zip(classes, labels, strict=True) if on]
        prompts.append(prompt.format(", ".join(names)))
    return prompts


def _teacher_map(job: Job, image_codes: Tensor, label_codes: Tensor) -> float:
    """Image-to-label mAP on some training rows: how good the teacher is before the student starts."""
    rows = torch.randperm(len(job.train), generator=job.generator)[:TEACHER_ROWS]
    labels = job.train.labels.cpu()[rows].bool()
    return evaluate(image_codes[rows], sign(label_codes[rows]), labels, labels, metrics=["map"]).map
