"""LCDH (Li, Jiang, Ma, Jiang, Fang, Wen, arXiv 2502.19751): a teacher, then a student of its similarities.

What is taught (fusion, attention, one layer to codes; similarity matrices that a light student approximates; two
weights, lambda1 and lambda2) is the paper's. Its formulas and constants are not available to us: see the README.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hashzoo import Job, Towers
from hashzoo.cost import multiply_accumulates, parameters
from hashzoo.losses import quantisation, shared_labels, sign
from hashzoo.online import OnlineTrainer
from hashzoo.train import Batch, Descent
from hashzoo_lcdh.objective import approximation, contrast, cosines, likelihood
from hashzoo_lcdh.replay import Anchors, WithAnchors
from hashzoo_lcdh.teacher import ROLES, Teacher

TEACHERS = ("every", "first", "none")


class LcdhTrainer(OnlineTrainer):
    """A teacher learns codes of pairs from labels; towers of one layer approximate the similarities of these codes.

    A chunk is all that either sees of the stream at a time. `fit` takes all rows as one chunk: the offline method.

    Args:
        lambda1: weight of the similarities inside one modality.
        lambda2: weight of the distance to binary codes.
        teacher: "every": goes on learning with each chunk. "first": learns from the first chunk and stays as it is.
            "none": no teacher; the student approximates 1 where a label is shared, -1 elsewhere.
        teacher_epochs: passes of the teacher over a chunk.
        student_epochs: passes of the student over a chunk.
        width: of the teacher's tokens, a multiple of `heads`.
        heads: of its transformer.
        fusion_layers: of its transformer; 0: no fusion.
        attention: whether it weighs the channels of the fused tokens.
        contrast: weight of the teacher's contrastive term.
        temperature: of that term.
        quantisation: weight of the distance of the teacher's codes to binary ones.
        balanced_pairs: similar and dissimilar pairs weigh alike in the teacher's likelihood.
        replay: rows of each chunk that are kept, and that teacher and student learn from again with later chunks.
        batch: rows a step.
        lr: AdamW's learning rate, with cosine decay in each stage of each chunk.
        encoder_lr: the same for encoders of the student that are trained along.
        weight_decay: AdamW's.
    """

    def __init__(
        self,
        lambda1: float = 1.0,
        lambda2: float = 0.1,
        teacher: str = "every",
        teacher_epochs: int = 30,
        student_epochs: int = 30,
        width: int = 256,
        heads: int = 4,
        fusion_layers: int = 1,
        attention: bool = True,
        contrast: float = 0.1,
        temperature: float = 0.2,
        quantisation: float = 0.1,
        balanced_pairs: bool = True,
        replay: int = 0,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
    ):
        if teacher not in TEACHERS:
            raise ValueError(f"teacher is every, first or none, not '{teacher}'")
        if heads < 1 or width < heads or width % heads:
            raise ValueError(f"width is a multiple of heads, and {width} is none of {heads}")
        if temperature <= 0:
            raise ValueError(f"temperature is a number over 0, not {temperature:.12g}")
        if min(replay, fusion_layers) < 0:
            raise ValueError("replay and fusion_layers are 0 or more")
        self.lambda1, self.lambda2, self.teacher = lambda1, lambda2, teacher
        self.teacher_epochs, self.student_epochs = teacher_epochs, student_epochs
        self.width, self.heads, self.fusion_layers, self.attention = width, heads, fusion_layers, attention
        self.contrast, self.temperature, self.quantisation = contrast, temperature, quantisation
        self.balanced_pairs, self.batch, self.lr = balanced_pairs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay
        self.bounded_state = replay == 0
        self._anchors = Anchors(replay, ROLES)
        self._student: Towers | None = None
        self._teacher: Teacher | None = None

    def fit(self, job: Job) -> Towers:
        """Teacher and student on all rows at once."""
        return self.partial_fit(job)

    def partial_fit(self, job: Job) -> Towers:
        chunk = job.train
        if len(self._anchors):
            job = replace(job, train=WithAnchors(chunk, self._anchors))
        if self._student is None:
            self._student = self.towers(job)
        self._student.train()
        targets = self._taught(job) if self.teacher != "none" else _label_similarity
        self._distil(job, self._student, targets)
        self._anchors.take(chunk, job.generator)
        return self._student

    def _taught(self, job: Job) -> Callable[[Batch], Tensor]:
        """Stage one, the teacher: what it says of the similarity of the rows of a batch."""
        if self._teacher is None:
            self._teacher, codes = job.once(self._first_taught)
        else:
            codes = self._codes_of(job, self._teacher, learns=self.teacher == "every")

        def similarity(batch: Batch) -> Tensor:
            own = codes[batch.index.to(codes.device)]
            return cosines(own, own)

        return similarity

    def _first_taught(self, job: Job) -> tuple[Teacher, Tensor]:
        """A teacher of the rows of a job, and its codes of them; students that differ share it."""
        shape = self.width, self.heads, self.fusion_layers, self.attention
        teacher = Teacher(job, job.bits, *shape).to(job.device)
        return teacher, self._codes_of(job, teacher, learns=True)

    def _codes_of(self, job: Job, teacher: Teacher, learns: bool) -> Tensor:
        """The teacher's codes of all rows, (n, bits), from which it learns before."""
        start = time.perf_counter()
        if learns:
            self._teach(job, teacher)
        codes = _codes(job, teacher)
        _log_cost(job, "teacher", teacher, start, *_seen(job, torch.zeros(1, dtype=torch.int64)))
        return codes

    def _teach(self, job: Job, teacher: Teacher) -> None:
        teacher.train()
        descent = self._descent(teacher, self.teacher_epochs)
        for epoch in range(1, self.teacher_epochs + 1):
            for batch in job.batches(self.batch):
                tokens = teacher.tokens(*_seen(job, batch.index))
                codes = teacher.codes(tokens)
                terms = {
                    "likelihood": likelihood(codes, batch.labels, self.balanced_pairs),
                    "contrast": self.contrast * contrast(tokens[:, 0], tokens[:, 1], self.temperature),
                    "quantisation": self.quantisation * quantisation(codes, sign(codes.detach())),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="teacher", epoch=epoch, **descent.end_epoch())

    def _distil(self, job: Job, student: Towers, targets: Callable[[Batch], Tensor]) -> None:
        """Stage two, the student: its similarities approximate those of the teacher."""
        start = time.perf_counter()
        descent = self._descent(student, self.student_epochs)
        for epoch in range(1, self.student_epochs + 1):
            for batch in job.batches(self.batch):
                outputs = student(batch.image, batch.text)
                terms = approximation(outputs.image, outputs.text, targets(batch), self.lambda1, self.lambda2)
                descent.step(terms, len(batch.index))
            job.log(stage="student", epoch=epoch, **descent.end_epoch())
        pair = job.train.batch(torch.zeros(1, dtype=torch.int64))
        _log_cost(job, "student", student, start, pair.image, pair.text)

    def _descent(self, model: torch.nn.Module, epochs: int) -> Descent:
        return Descent.adamw([model], epochs, self.lr, self.encoder_lr, self.weight_decay)


def _label_similarity(batch: Batch) -> Tensor:
    return 2 * shared_labels(batch.labels, batch.labels) - 1


@torch.no_grad()
def _codes(job: Job, teacher: Teacher) -> Tensor:
    """The teacher's codes of all rows, (n, bits)."""
    teacher.eval()
    parts = torch.arange(len(job.train)).split(1024)
    return torch.cat([teacher(*_seen(job, part)) for part in parts])


def _seen(job: Job, index: Tensor) -> list[Tensor]:
    """What the teacher sees of some rows: image and text features, (len(index), width) each."""
    return [job.train.extra(role, index) for role in ROLES]


def _log_cost(job: Job, stage: str, model: torch.nn.Module, start: float, *pair: Tensor) -> None:
    """Log parameters, multiply-accumulates for a pair of image and text, and seconds since `start`."""
    seconds = round(time.perf_counter() - start, 4)
    macs = multiply_accumulates(model, *pair)
    job.log(stage=stage, parameters=parameters(model), macs=macs, seconds=seconds)
