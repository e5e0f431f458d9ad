"""The two stages of SODA (Sun, Chen, Yan, arXiv 2510.09664).

The structure (label prompts, Phi_1 and Phi_2, image codes that are frozen in the second stage) is
the paper's. Its constants are not available to us: every default below is our reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Towers, Trainer, evaluate
from hashzoo.losses import pair_likelihood, quantisation, shared_labels, sign
from hashzoo.model import encode
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
        balanced_pairs: bool = True,
    ):
        if "{}" not in prompt:
            raise ValueError("prompt needs {} where the label names go")
        self.alpha, self.beta = alpha, beta
        self.teacher_epochs, self.student_epochs = teacher_epochs, student_epochs
        self.batch, self.lr, self.encoder_lr, self.weight_decay = batch, lr, encoder_lr, weight_decay
        self.prompt, self.balanced_pairs = prompt, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = job.towers()
        label_tower = job.towers().text
        prompts, prompt_of = label_prompts(job, self.prompt)

        # Stage one, the teacher: image codes and label codes in one Hamming space.
        descent = self._descent([towers.image, label_tower], self.teacher_epochs)
        for epoch in range(1, self.teacher_epochs + 1):
            for batch in job.batches(self.batch):
                image = towers.image(batch.image)
                label = label_tower(prompts[prompt_of[batch.index]])
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
            stage="teacher", image_to_label_map=_teacher_map(job, image_codes, encode(label_tower, prompts)[prompt_of])
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

    def _likelihood(self, one: Tensor, other: Tensor, labels: Tensor) -> Tensor:
        """Phi_1, with theta = <h, h'> / 2."""
        return pair_likelihood(one @ other.T / 2, shared_labels(labels, labels), self.balanced_pairs)

    def _descent(self, modules: list[torch.nn.Module], epochs: int) -> Descent:
        return Descent.adamw(modules, epochs, self.lr, self.encoder_lr, self.weight_decay)


def label_prompts(job: Job, prompt: str) -> tuple[Tensor, Tensor]:
    """Text-tower inputs of one prompt per distinct label set, (P, ...), and each training row's prompt, (n,)."""
    sets, prompt_of = job.train.labels.cpu().bool().unique(dim=0, return_inverse=True)
    texts = []
    for labels in sets:
        names = [name.replace("_", " ") for name, on in zip(job.classes, labels.tolist(), strict=True) if on]
        texts.append(prompt.format(", ".join(names)))
    return job.text_inputs(texts), prompt_of


def _teacher_map(job: Job, image_codes: Tensor, label_codes: Tensor) -> float:
    """Image-to-label mAP on some training rows: how good the teacher is before the student starts."""
    rows = torch.randperm(len(job.train), generator=job.generator)[:TEACHER_ROWS]
    labels = job.train.labels.cpu()[rows].bool()
    return evaluate(image_codes[rows], sign(label_codes[rows]), labels, labels, metrics=["map"]).map
