"""SODA with a contrast over label sets: ours, after Sun, Chen, Yan (arXiv 2510.09664).

The two stages, the label prompts, Phi_2 and the frozen image codes are SODA's. Phi_1 is exchanged: instead of a
likelihood of the pairs inside a batch it is a softmax over all label sets of the training rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashzoo import Job
from hashzoo.losses import quantisation, shared_labels
from hashzoo_soda.objective import binarisation
from hashzoo_soda.trainer import SodaTrainer

CONTRASTS = ("both", "teacher", "student", "none")


class SetSodaTrainer(SodaTrainer):
    """Each image meets the prompts of all label sets, then each text meets the mean image code of each label set.

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
        contrast: the stages whose Phi_1 is the contrast: "both", "teacher", "student" or "none"; the other
            stages have SODA's likelihood of the pairs inside a batch.
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
        contrast: str = "both",
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
        )
        if temperature <= 0:
            raise ValueError(f"temperature is a number over 0, not {temperature:.12g}")
        if contrast not in CONTRASTS:
            raise ValueError(f"contrast is both, teacher, student or none, not '{contrast}'")
        self.temperature, self.prompts, self.contrast = temperature, prompts, contrast

    def _teach(
        self, job: Job, image_tower: nn.Module, label_tower: nn.Module, label_inputs: Tensor, set_of: Tensor
    ) -> None:
        if self.contrast not in ("both", "teacher"):
            return super()._teach(job, image_tower, label_tower, label_inputs, set_of)
        sets, rows_of = job.train.labels.unique(dim=0, return_counts=True)
        descent = self._descent([image_tower, label_tower], self.teacher_epochs)
        for epoch in range(1, self.teacher_epochs + 1):
            for batch in job.batches(self.batch):
                own = set_of[batch.index]
                met = self._sets_met(own, len(sets), job)
                image, prompts = image_tower(batch.image), label_tower(label_inputs[met])
                similarity = shared_labels(batch.labels, sets[met])
                label = prompts[torch.searchsorted(met, own)]
                terms = {
                    "contrast": set_contrast(image, prompts, similarity, rows_of[met], self.temperature),
                    "binarisation": self.alpha * binarisation(image, label, self.codes),
                }
                descent.step(terms, len(batch.index))
            job.log(stage="teacher", epoch=epoch, **descent.end_epoch())

    def _distil(self, job: Job, text_tower: nn.Module, targets: Tensor) -> None:
        if self.contrast not in ("both", "student"):
            return super()._distil(job, text_tower, targets)
        sets, set_of, rows_of = job.train.labels.unique(dim=0, return_inverse=True, return_counts=True)
        means = torch.zeros(len(sets), job.bits, device=job.device).index_add_(0, set_of, targets) / rows_of[:, None]
        descent = self._descent([text_tower], self.student_epochs)
        for epoch in range(1, self.student_epochs + 1):
            for batch in job.batches(self.batch):
                text, similarity = text_tower(batch.text), shared_labels(batch.labels, sets)
                terms = {
                    "contrast": set_contrast(text, means, similarity, rows_of, self.temperature),
                    "binarisation": self.beta * quantisation(text, targets[batch.index]),
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
