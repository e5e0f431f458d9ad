"""SODA with a contrast over label sets: ours, after Sun, Chen, Yan (arXiv 2510.09664).

The two stages, their terms, the label prompts and the frozen images are SODA's. Each stage has a third term, a softmax
over all label sets of the training rows, and stage two sees the images as they were before the sign.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job
from hashzoo.losses import quantisation, shared_labels
from hashzoo_soda.objective import BatchPairs, binarisation
from hashzoo_soda.trainer import SodaTrainer


class SetSodaTrainer(SodaTrainer):
    """Each image meets the prompts of all label sets, then each text meets the mean frozen image of each label set.

    Args:
        alpha: weight of Phi_2, the binarisation penalty, in stage one.
        beta: weight of the binarisation penalty in stage two.
        teacher_epochs: passes of stage one.
        student_epochs: passes of stage two.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay in each stage.
        encoder_lr: the same for encoders that are trained along.
        weight_decay: AdamW's.
        prompt, join, labels: see `SodaTrainer`.
        temperature: of the softmax; it divides inner products of codes, which lie in [-1, 1].
        prompts: at most about so many label sets, drawn anew, are encoded in a step of stage one, and always those
            of the batch; data sets of many labels have thousands of sets.
        teacher_contrast: weight of the contrast in stage one; 0 leaves it out.
        student_contrast: weight of the contrast in stage two; 0 leaves it out.
        targets: what a frozen image is to its student: the "soft" outputs before the sign, or its "codes" (SODA).
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
        temperature: float = 0.2,
        prompts: int = 512,
        teacher_contrast: float = 0.2,
        student_contrast: float = 1.0,
        targets: str = "soft",
    ):
        super().__init__(
            alpha=alpha,
            beta=beta,
            teacher_epochs=teacher_epochs,
            student_epochs=student_epochs,
            batch=batch,
            lr=lr,
            encoder_lr=encoder_lr,
            weight_decay=weight_decay,
            prompt=prompt,
            join=join,
            labels=labels,
            targets=targets,
        )
        if temperature <= 0:
            raise ValueError(f"temperature is a number over 0, not {temperature:.12g}")
        self.temperature, self.prompts = temperature, prompts
        self.teacher_contrast, self.student_contrast = teacher_contrast, student_contrast

    def _teach(
        self, job: Job, image_tower: nn.Module, label_tower: nn.Module, label_inputs: Tensor, set_of: Tensor
    ) -> None:
        if not self.teacher_contrast:
            return super()._teach(job, image_tower, label_tower, label_inputs, set_of)
        pairs = BatchPairs(self.balanced_pairs, self.intra)
        sets, rows_of = job.train.labels.unique(dim=0, return_counts=True)
        descent = self._descent([image_tower, label_tower], self.teacher_epochs)
        for epoch in range(1, self.teacher_epochs + 1):
            for batch in job.batches(self.batch):
                own = set_of[batch.index]
                met = self._sets_met(own, len(sets), job)
                image, prompts = image_tower(batch.image), label_tower(label_inputs[met])
                similarity = shared_labels(batch.labels, sets[met])
                label = prompts[torch.searchsorted(met, own)]
                contrast = set_contrast(image, prompts, similarity, rows_of[met], self.temperature)
                terms = {
                    "likelihood": pairs(image, label, batch),
                    "contrast": self.teacher_contrast * contrast,
                    "binarisation": self.alpha * binarisation(image, label, self.codes),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="teacher", epoch=epoch, **descent.end_epoch())

    def _distil(self, job: Job, text_tower: nn.Module, targets: Tensor) -> None:
        if not self.student_contrast:
            return super()._distil(job, text_tower, targets)
        pairs = BatchPairs(self.balanced_pairs, self.intra)
        sets, set_of, rows_of = job.train.labels.unique(dim=0, return_inverse=True, return_counts=True)
        means = torch.zeros(len(sets), job.bits, device=job.device).index_add_(0, set_of, targets) / rows_of[:, None]
        descent = self._descent([text_tower], self.student_epochs)
        for epoch in range(1, self.student_epochs + 1):
            for batch in job.batches(self.batch):
                fixed, text = targets[batch.index], text_tower(batch.text)
                contrast = set_contrast(text, means, shared_labels(batch.labels, sets), rows_of, self.temperature)
                terms = {
                    "likelihood": pairs(fixed, text, batch),
                    "contrast": self.student_contrast * contrast,
                    "binarisation": self.beta * quantisation(text, fixed),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="student", epoch=epoch, **descent.end_epoch())

    def _sets_met(self, own: Tensor, count: int, job: Job) -> Tensor:
        """The label sets of one step, ascending: all `count`, or those of the batch and some at random."""
        if count <= self.prompts:
            return torch.arange(count, device=job.device)
        some = torch.randperm(count, generator=job.generator)[: self.prompts].to(job.device)
        return torch.cat([own, some]).unique()


def set_contrast(values: Tensor, anchors: Tensor, similarity: Tensor, rows_of: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of rows against label sets, each of which stands for all rows that have it.

    With anchors a_p of sets that n_p rows have, s_ip = <h_i, a_p> / (bits temperature) and t_ip = n_p S_ip over its
    sum over p, the mean over rows i of sum_p t_ip (log sum_r n_r exp(s_ir) - s_ip). It is L_out of Khosla et al.
    (NeurIPS 2020, eq. 2) on inner products of codes, where every row of a set has the set's anchor.

    Args:
        values: (B, bits).
        anchors: (P, bits).
        similarity: (B, P) in {0, 1}; a row that is similar to no set adds nothing.
        rows_of: (P,), training rows of each set.
        temperature: over 0.
    """
    weights = rows_of.to(values.dtype)
    scores = values @ anchors.T / (values.shape[1] * temperature)
    similar = similarity * weights
    targets = similar / similar.sum(dim=1, keepdim=True).clamp_min(1)
    total = torch.logsumexp(scores + weights.log(), dim=1, keepdim=True)
    return (targets * (total - scores)).sum(dim=1).mean()
