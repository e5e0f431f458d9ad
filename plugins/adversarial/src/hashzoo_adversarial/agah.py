"""AGAH (Gu et al., ICMR 2019): attention to labels, a binary code for each label, and critics of both features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from hashzoo import Job, Outputs, Towers, Trainer
from hashzoo.losses import shared_labels, sign
from hashzoo.train import Descent
from hashzoo_adversarial.attention import AttentionHead
from hashzoo_adversarial.critic import Adversary
from hashzoo_adversarial.heads import head_of, same_width
from hashzoo_adversarial.triplets import all_triplets, cosine_distance


class AgahTrainer(Trainer):
    """Both towers on one loss, of the codes h of each modality, the binary codes c of the labels and y in {0, 1}:

        triplets, image to text and text to image, cosine distance
        + alpha sum 1 / (1 + exp(cos(|h|, 1))) + gamma sum (<h, c> - bits (2 y - 1))^2 + eta sum ||sign(h) - h||^2
        + mu (what it costs images to be known from texts, and texts from images),

    divided by the rows of the batch. All are sums over rows, but for the critics' costs, which are means. After each
    epoch the codes of the labels (`renewed_label_codes`) and the map of their features, to which the heads attend
    (`label_features`), are renewed from the outputs of the epoch.

    Args:
        epochs: passes over the training rows; 300 in the code.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay (the code: Adamax, 1e-4 and 1e-3).
        encoder_lr: of encoders that are trained along; 1e-4 in the code.
        critic_lr: Adam's of the critics (the code: Adamax, 1e-3).
        margin: of the triplets.
        alpha: weight of the codes' distance to equal magnitudes.
        gamma: weight of the agreement with the codes of labels.
        eta: weight of the quantisation.
        mu: weight of the critics.
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
        margin: float = 0.3,
        alpha: float = 1.0,
        gamma: float = 0.001,
        eta: float = 1.0,
        mu: float = 1.0,
        penalty: float = 10.0,
    ):
        self.epochs, self.batch, self.lr, self.encoder_lr = epochs, batch, lr, encoder_lr
        self.critic_lr, self.weight_decay, self.margin = critic_lr, weight_decay, margin
        self.alpha, self.gamma, self.eta, self.mu, self.penalty = alpha, gamma, eta, mu, penalty

    def towers(self, job: Job) -> Towers:
        towers = job.towers()
        for tower in (towers.image, towers.text):
            _, head = head_of(tower, AttentionHead)
            head.attend_to(torch.zeros(len(job.classes), head.width, device=job.device))
        return towers

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        image, image_head = head_of(towers.image, AttentionHead)
        text, text_head = head_of(towers.text, AttentionHead)
        n, classes, width = len(job.train), len(job.classes), same_width(image_head, text_head)
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        of_images, of_texts = (
            Adversary(
                (width, width, width // 2), "wasserstein", self.penalty, self.critic_lr, job.device, job.generator
            )
            for _ in range(2)
        )

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=job.generator).to(job.device)

        label_codes, label_map = sign(normal(classes, job.bits)), normalize(normal(classes, width))
        tables = Outputs(normal(n, job.bits), normal(n, job.bits))
        features = normal(n, width)
        image_head.attend_to(label_map)
        text_head.attend_to(label_map)
        for epoch in range(1, self.epochs + 1):
            for batch in job.batches(self.batch):
                f_image = image_head.feature(image.features(batch.image))
                f_text = text_head.feature(text.features(batch.text))
                outputs = Outputs(image_head.code(f_image), text_head.code(f_text))
                tables.image[batch.index], tables.text[batch.index] = outputs.image.detach(), outputs.text.detach()
                features[batch.index] = (f_image + f_text).detach() / 2
                of_texts.learn(f_text, f_image)
                of_images.learn(f_image, f_text)
                rows = len(batch.index)
                terms = self._terms(outputs, batch.labels, label_codes)
                terms["adversary"] = self.mu * (of_texts.cost(f_image) + of_images.cost(f_text)) / rows
                descent.step(terms, rows)
            label_codes = renewed_label_codes(label_codes, tables, job.train.labels)
            label_map = label_features(features, job.train.labels)
            image_head.attend_to(label_map)
            text_head.attend_to(label_map)
            job.log(epoch=epoch, **descent.end_epoch())
        return towers

    def _terms(self, outputs: Outputs, labels: Tensor, label_codes: Tensor) -> dict[str, Tensor]:
        """The terms of a batch over its rows, without the critics'.

        Args:
            outputs: (B, bits) each.
            labels: (B, C) in {0, 1}.
            label_codes: (C, bits) in {-1, +1}.
        """
        rows, bits = outputs.image.shape
        distance, similar = cosine_distance(outputs.image, outputs.text), shared_labels(labels, labels)
        triplets = all_triplets(distance, similar, self.margin) + all_triplets(distance.T, similar, self.margin)
        codes = torch.cat([outputs.image, outputs.text])
        evenness = cosine_similarity(codes.abs(), torch.ones_like(codes))
        agreement = codes @ label_codes.T - bits * (2 * labels.repeat(2, 1) - 1)
        return {
            "triplets": triplets / rows,
            "evenness": self.alpha * torch.sigmoid(-evenness).sum() / rows,
            "label_codes": self.gamma * agreement.square().sum() / rows,
            "quantisation": self.eta * (sign(codes.detach()) - codes).square().sum() / rows,
        }


def label_features(features: Tensor, labels: Tensor) -> Tensor:
    """Mean feature of the rows of each label, at length 1; zeros for a label without rows.

    Args:
        features: (n, width), the mean of both modalities.
        labels: (n, C) in {0, 1}.

    Returns:
        (C, width).
    """
    return normalize(labels.T @ features)


def renewed_label_codes(label_codes: Tensor, tables: Outputs, labels: Tensor) -> Tensor:
    """Codes of the labels, bit after bit, each given all others, as the code renews them:

        c_k = sign(q_k - 2 C_k' (U_k'^T u_k + V_k'^T v_k + C_k'^T c_k)),  Q = 2 bits (Y^T (U + V) + (2 I - 1) C)

    with U and V the signs of the tables, and X_k' the matrix X without its column x_k. For U and V this minimises
    ||U C^T - bits Y||^2 + ||V C^T - bits Y||^2 over c_k: rows without a label are to disagree with half of its bits,
    where the loss of the towers has -bits.

    Args:
        label_codes: C, (C, bits) in {-1, +1}; Q is made of these, the sums of those that are renewed already.
        tables: outputs of all training rows, (n, bits) each.
        labels: Y, (n, C) in {0, 1}.
    """
    u, v, codes = sign(tables.image), sign(tables.text), label_codes.clone()
    bits, apart = codes.shape[1], 2 * torch.eye(len(codes), device=codes.device) - 1
    wanted = 2 * bits * (labels.T @ (u + v) + apart @ label_codes)
    products = u.T @ u + v.T @ v
    for bit in range(bits):
        others = codes.clone()
        others[:, bit] = 0
        codes[:, bit] = sign(wanted[:, bit] - 2 * others @ (products[:, bit] + others.T @ codes[:, bit]))
    return codes
