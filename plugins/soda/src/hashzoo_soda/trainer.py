"""The two stages of SODA (Sun, Chen, Yan, arXiv 2510.09664).

The structure (label prompts, Phi_1 and Phi_2, image codes that are frozen in the second stage) is
the paper's. Its constants are not available to us: every default below is our reconstruction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hashzoo import Job, Towers, Trainer, evaluate
from hashzoo.losses import quantisation, sign
from hashzoo.model import encode
from hashzoo.train import Batch, Descent
from hashzoo_soda.objective import BatchPairs, BufferPairs, binarisation
from hashzoo_soda.prompts import label_side

TEACHER_ROWS = 2000  # training rows on which the teacher is measured after stage one
CHOICES = {
    "labels": ("auto", "prompts", "vectors"),
    "join": ("joined", "mean"),
    "pairs": ("batch", "buffers"),
    "codes": ("shared", "own"),
    "student": ("frozen", "free", "none"),
    "targets": ("codes", "soft"),
}


class SodaTrainer(Trainer):
    """Stage one fits image and label codes to each other, stage two fits text codes to the frozen image codes.

    Args:
        alpha: weight of Phi_2, the binarisation penalty, in stage one.
        beta: weight of the binarisation penalty in stage two.
        teacher_epochs: passes of stage one; 0 for a teacher that has learned nothing.
        student_epochs: passes of stage two.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay in each stage.
        encoder_lr: the same for encoders that are trained along.
        weight_decay: AdamW's.
        prompt: the label prompt; {} stands for the label names, joined by commas. "An image of" is the paper's;
            "{}" is the bare names.
        join: of several labels the prompt names all ("joined"), or each label has a prompt of its own and the head
            sees the mean of their embeddings ("mean").
        labels: what the label tower sees: "prompts" (the paper), "vectors" (the 0/1 labels themselves, through one
            hidden layer), or "auto": prompts, and vectors where a prompt says nothing: where the texts are given
            features, or where most prompts are alike to the text encoder, as to a bag of words that knows no
            label name.
        pairs: Phi_1 looks at the pairs inside a "batch", or at those of a batch with all training rows, whose
            latest outputs are kept in "buffers" that start at zero.
        balanced_pairs: similar and dissimilar pairs weigh alike in Phi_1. This departs from the plain mean,
            which does worse where few pairs are similar.
        intra: weight in Phi_1 of pairs inside one modality: image with image and label with label in stage one,
            text with text in stage two.
        codes: Phi_2 of stage one pulls both outputs of a row to one "shared" code, or each to its "own" sign.
        student: "frozen": stage two leaves the images alone (the paper). "free": stage two fits images and texts
            to each other, and the images start from what stage one taught them. "none": no teacher and hence no
            student; images and texts are fitted to each other from the start, with alpha, for the epochs of both
            stages.
        targets: what a frozen image is to its student in both terms: its "codes", or the "soft" outputs before
            the sign.
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
        join: str = "joined",
        labels: str = "auto",
        pairs: str = "batch",
        balanced_pairs: bool = True,
        intra: float = 0.0,
        codes: str = "shared",
        student: str = "frozen",
        targets: str = "codes",
    ):
        if "{}" not in prompt:
            raise ValueError("prompt needs {} where the label names go")
        self.alpha, self.beta = alpha, beta
        self.teacher_epochs, self.student_epochs = teacher_epochs, student_epochs
        self.batch, self.lr, self.encoder_lr, self.weight_decay = batch, lr, encoder_lr, weight_decay
        self.prompt, self.join, self.labels = prompt, join, labels
        self.pairs, self.balanced_pairs, self.intra, self.codes = pairs, balanced_pairs, intra, codes
        self.student, self.targets = student, targets
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                *others, last = allowed
                raise ValueError(f"{name} is {', '.join(others)} or {last}, not '{getattr(self, name)}'")

    def fit(self, job: Job) -> Towers:
        if self.student == "none":
            towers, epochs = self.towers(job), self.teacher_epochs + self.student_epochs
            self._align(job, "joint", epochs, self.alpha, towers.image, towers.text, _texts)
            return towers

        # Stage one, the teacher: image codes and label codes in one Hamming space. Students that differ share it.
        taught, soft = job.once(self._taught)
        towers = copy.deepcopy(taught)

        # Stage two, the student: text codes meet the image codes.
        if self.student == "free":
            self._align(job, "student", self.student_epochs, self.beta, towers.image, towers.text, _texts)
        else:
            targets = soft if self.targets == "soft" else sign(soft)
            self._distil(job, towers.text, targets.to(job.device))
        return towers

    def _taught(self, job: Job) -> tuple[Towers, Tensor]:
        """Towers after stage one, whose texts have learned nothing yet, and the outputs for all images, (n, bits)."""
        towers = self.towers(job)
        sets, set_of = job.train.labels.unique(dim=0, return_inverse=True)
        label_tower, label_inputs = label_side(job, sets, self.labels, self.prompt, self.join)
        self._teach(job, towers.image, label_tower, label_inputs, set_of)

        # From here on the image codes are frozen; they are all that the student sees of the images.
        rows = torch.arange(len(job.train))
        soft = torch.cat([encode(towers.image, job.train.image(part)) for part in rows.split(4096)])
        label_codes = encode(label_tower, label_inputs)[set_of.cpu()]
        job.log(stage="teacher", image_to_label_map=_teacher_map(job, soft, label_codes))
        return towers, soft

    def _teach(
        self, job: Job, image_tower: nn.Module, label_tower: nn.Module, label_inputs: Tensor, set_of: Tensor
    ) -> None:
        """Stage one: fit images and labels to each other; `set_of` is each row's label set among the inputs, (n,)."""

        def labels(batch: Batch) -> Tensor:
            return label_inputs.index_select(0, set_of.index_select(0, batch.index))

        self._align(job, "teacher", self.teacher_epochs, self.alpha, image_tower, label_tower, labels)

    def _align(
        self,
        job: Job,
        stage: str,
        epochs: int,
        weight: float,
        image_tower: nn.Module,
        other_tower: nn.Module,
        inputs: Callable[[Batch], Tensor],
    ) -> None:
        """Fit the images and another tower, with these `inputs`, to each other; `weight` is that of Phi_2."""
        pairs = self._pairs(job, self._table(job), self._table(job))
        descent = self._descent([image_tower, other_tower], epochs)
        for epoch in range(1, epochs + 1):
            for batch in job.batches(self.batch):
                image, other = image_tower(batch.image), other_tower(inputs(batch))
                terms = {
                    "likelihood": pairs(image, other, batch),
                    "binarisation": weight * binarisation(image, other, self.codes),
                }
                descent.step(terms, len(batch.index))
            job.log(stage=stage, epoch=epoch, **descent.end_epoch())

    def _distil(self, job: Job, text_tower: nn.Module, targets: Tensor) -> None:
        """Fit the texts to what the images were frozen to, (n, bits)."""
        pairs = self._pairs(job, targets, self._table(job))
        descent = self._descent([text_tower], self.student_epochs)
        for epoch in range(1, self.student_epochs + 1):
            for batch in job.batches(self.batch):
                fixed, text = targets.index_select(0, batch.index), text_tower(batch.text)
                terms = {
                    "likelihood": pairs(fixed, text, batch),
                    "binarisation": self.beta * quantisation(text, fixed),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="student", epoch=epoch, **descent.end_epoch())

    def _pairs(self, job: Job, image: Tensor, other: Tensor) -> BatchPairs:
        if self.pairs == "batch":
            return BatchPairs(self.balanced_pairs, self.intra)
        return BufferPairs(job, self.balanced_pairs, self.intra, image, other)

    def _table(self, job: Job) -> Tensor:
        return torch.zeros(len(job.train), job.bits, device=job.device)

    def _descent(self, modules: list[nn.Module], epochs: int) -> Descent:
        return Descent.adamw(modules, epochs, self.lr, self.encoder_lr, self.weight_decay)


def _texts(batch: Batch) -> Tensor:
    return batch.text


def _teacher_map(job: Job, image_codes: Tensor, label_codes: Tensor) -> float:
    """Image-to-label mAP on some training rows: how good the teacher is before the student starts."""
    rows = torch.randperm(len(job.train), generator=job.generator)[:TEACHER_ROWS]
    labels = job.train.labels.cpu()[rows].bool()
    return evaluate(sign(image_codes[rows]), sign(label_codes[rows]), labels, labels, metrics=["map"]).map
