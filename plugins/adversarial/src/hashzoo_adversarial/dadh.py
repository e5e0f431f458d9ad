"""DADH (Bai et al., ICMR 2020): triplets weighted by relevance, and critics of features and of codes."""

from __future__ import annotations

import torch
from torch import Tensor

from hashzoo import Job, Outputs, Towers, Trainer
from hashzoo.losses import shared_labels, sign
from hashzoo.train import Descent
from hashzoo_adversarial.critic import Adversary
from hashzoo_adversarial.heads import FeatureHead, head_of, same_width
from hashzoo_adversarial.triplets import all_triplets, cosine_distance, relevance_gains


class DadhTrainer(Trainer):
    """Both towers on one loss, of the codes h of each modality and the discrete codes B of the rows:

        alpha (weighted triplets, image to text and text to image, cosine distance) + beta sum ||b - h||^2
        + gamma (what it costs texts that critics know their features, and their codes, from those of images),

    divided by the rows of the batch. A triplet weighs g_positive - g_negative with g = (2^r - 1) / Z, r the shared
    labels and Z the ideal DCG of the batch; negatives share none, so that it is g_positive. The critic of codes
    moves the last layer alone. After each epoch B is renewed (`discrete_codes`).

    Args:
        epochs: passes over the training rows, 300 in the paper.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay (the code: Adam, 5e-5).
        encoder_lr: of encoders that are trained along; in the code they are not.
        critic_lr: Adam's of the critics (the code: 5e-5).
        margin: of the triplets.
        alpha: weight of the triplets; the code's 10, times another 10 that it multiplies them by.
        beta: weight of the quantisation.
        gamma: weight of the critics, whose costs are means over the batch.
        mu: share of the towers' codes in B.
        ridge: added to the diagonal of the label matrix's gram matrix, the paper's lambda.
        penalty: weight of the critics' gradient penalty.
    """

    def __init__(
        self,
        epochs: int = 25,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        critic_lr: float = 1e-3,
        weight_decay: float = 1e-4,
        margin: float = 0.4,
        alpha: float = 100.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        mu: float = 1e-5,
        ridge: float = 1.0,
        penalty: float = 10.0,
    ):
        self.epochs, self.batch, self.lr, self.encoder_lr = epochs, batch, lr, encoder_lr
        self.critic_lr, self.weight_decay = critic_lr, weight_decay
        self.margin, self.alpha, self.beta, self.gamma = margin, alpha, beta, gamma
        self.mu, self.ridge, self.penalty = mu, ridge, penalty

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        image, image_head = head_of(towers.image, FeatureHead)
        text, text_head = head_of(towers.text, FeatureHead)
        width = same_width(image_head, text_head)
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)

        def critic(*widths: int) -> Adversary:
            return Adversary(widths, "logistic", self.penalty, self.critic_lr, job.device, job.generator)

        of_features, of_codes = critic(width, width // 2, width // 4), critic(job.bits, 512)
        codes = sign(torch.randn(len(job.train), job.bits, generator=job.generator).to(job.device))
        sums = torch.zeros_like(codes)
        for epoch in range(1, self.epochs + 1):
            for batch in job.batches(self.batch):
                f_image = image_head.feature(image.features(batch.image))
                f_text = text_head.feature(text.features(batch.text))
                outputs = Outputs(image_head.code(f_image), text_head.code(f_text))
                sums[batch.index] = (outputs.image + outputs.text).detach()
                of_features.learn(f_image, f_text)
                of_codes.learn(outputs.image, outputs.text)
                rows = len(batch.index)
                terms = self._terms(outputs, batch.labels, codes[batch.index])
                cost = of_features.cost(f_text) + of_codes.cost(text_head.code(f_text.detach()))
                terms["adversary"] = self.gamma * cost / rows
                descent.step(terms, rows)
            codes = discrete_codes(codes, sums, job.train.labels, self.ridge, self.mu)
            job.log(epoch=epoch, **descent.end_epoch())
        return towers

    def _terms(self, outputs: Outputs, labels: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """The terms of a batch over its rows, without the critics'; codes (B, bits), labels (B, C)."""
        rows = len(codes)
        distance = cosine_distance(outputs.image, outputs.text)
        similar, gains = shared_labels(labels, labels), relevance_gains(labels, labels)
        triplets = all_triplets(distance, similar, self.margin, gains)
        triplets = triplets + all_triplets(distance.T, similar, self.margin, gains)
        corners = (codes - outputs.image).square().sum() + (codes - outputs.text).square().sum()
        return {"triplets": self.alpha * triplets / rows, "quantisation": self.beta * corners / rows}


def discrete_codes(codes: Tensor, sums: Tensor, labels: Tensor, ridge: float, mu: float) -> Tensor:
    """B = sign(Y P + mu (H_image + H_text) / 2) with P = (Y^T Y + ridge I)^-1 Y^T B.

    Args:
        codes: (n, bits) in {-1, +1}, the B that P is fitted to.
        sums: (n, bits), H_image + H_text.
        labels: (n, C) in {0, 1}.
        ridge, mu: as of `DadhTrainer`.
    """
    gram = labels.T @ labels + ridge * torch.eye(labels.shape[1], device=labels.device)
    return sign(labels @ torch.linalg.solve(gram, labels.T @ codes) + mu * sums / 2)
