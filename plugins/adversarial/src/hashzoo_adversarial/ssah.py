"""SSAH (Li et al., CVPR 2018): a network of labels teaches both towers, and critics compare their features with its."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import shared_labels, sign
from hashzoo.model import Tower
from hashzoo.train import Descent
from hashzoo_adversarial.critic import Adversary
from hashzoo_adversarial.heads import FeatureHead, head_of, same_width

ROLES = ("image", "text")
SIMILAR = 0.999  # S of rows that share a label where the likelihood is squared; at 1 its minimum would be at infinity


@dataclass
class Views:
    """What a network makes of some rows: features (B, width), codes (B, bits) and predicted labels (B, C) in (0, 1)."""

    features: Tensor
    codes: Tensor
    labels: Tensor


@dataclass
class Semantics:
    """Tables of the label network: one row for each different set of labels, since equal sets have equal features.

    Attributes:
        features, codes: (U, width) and (U, bits).
        sets: (U, C) in {0, 1}, the label sets.
        counts: (U,), how many training rows have each.
        of: (n,), the set of each training row.
    """

    features: Tensor
    codes: Tensor
    sets: Tensor
    counts: Tensor
    of: Tensor


class Network(nn.Module):
    """A tower whose feature also predicts labels."""

    def __init__(self, tower: nn.Module, classes: int):
        super().__init__()
        self.tower, self.head = head_of(tower, FeatureHead)
        self.labels = nn.Linear(self.head.width, classes)

    def forward(self, x: Tensor) -> Views:
        features = self.head.feature(self.tower.features(x))
        return Views(features, self.head.code(features), self.labels(features).sigmoid())


class SsahTrainer(Trainer):
    """A network of label sets learns features and codes, F (n, width) and H (n, bits); the towers are drawn to them.

    With f_j, h_j, l_j the feature, the code and the predicted labels of row j of a batch, theta_ij = <F_i, f_j> / 2
    and phi_ij = <H_i, h_j> / 2, each of the three networks minimises

        alpha sum_ij [log(1 + exp(theta_ij)) - S_ij theta_ij] + gamma sum_ij [log(1 + exp(phi_ij)) - S_ij phi_ij]
        + beta sum_j ||b_j - h_j||^2 + eta sum_j ||y_j - l_j||^2

    over n x batch, and a tower also delta times what it costs its features that a critic of its modality knows them
    from those of the label network (`Adversary.cost`), summed over the rows. B is the sign of the label network's own
    codes in its stage, and that of the sum of all three codes, renewed after each epoch, in that of the towers.

    Args:
        epochs: of the towers, each one pass over images and one over texts.
        label_epochs: passes of the label network, which come first.
        batch: rows a step.
        lr: AdamW's learning rate of the heads, with cosine decay (the code: Adam, 10^-4.5 and 10^-3.5).
        label_lr: of the label network (the code: 10^-2).
        encoder_lr: of encoders that are trained along; the code has one rate for all of a tower.
        critic_lr: Adam's of the critics.
        alpha: weight of the pairs of features.
        gamma: weight of the pairs of codes.
        beta: weight of the quantisation.
        eta: weight of the predicted labels; 1 in the paper.
        delta: weight of the critics.
        label_hidden: width of the label network's hidden layer; 4096 in the paper.
        squared: half the square of each pair's log-likelihood, as in the code, instead of the paper's likelihood.
        balanced_pairs: similar and dissimilar pairs weigh alike; not in the paper, which does worse where few pairs
            are similar.
    """

    def __init__(
        self,
        epochs: int = 25,
        label_epochs: int = 40,
        batch: int = 128,
        lr: float = 1e-3,
        label_lr: float = 1e-2,
        encoder_lr: float = 1e-5,
        critic_lr: float = 1e-3,
        weight_decay: float = 1e-4,
        alpha: float = 1.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        eta: float = 100.0,
        delta: float = 1.0,
        label_hidden: int = 512,
        squared: bool = False,
        balanced_pairs: bool = True,
    ):
        self.epochs, self.label_epochs, self.batch = epochs, label_epochs, batch
        self.lr, self.label_lr, self.encoder_lr, self.critic_lr = lr, label_lr, encoder_lr, critic_lr
        self.weight_decay, self.label_hidden = weight_decay, label_hidden
        self.alpha, self.gamma, self.beta, self.eta, self.delta = alpha, gamma, beta, eta, delta
        self.squared, self.balanced_pairs = squared, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        networks = {
            role: Network(tower, len(job.classes)).to(job.device)
            for role, tower in (("image", towers.image), ("text", towers.text))
        }
        width = same_width(networks["image"].head, networks["text"].head)
        semantics = self._learn_labels(job, width)
        critics = {
            role: Adversary((width, width, width // 2), "logistic", 0.0, self.critic_lr, job.device, job.generator)
            for role in ROLES
        }
        descents = {role: self._descent(networks[role], self.epochs, self.lr) for role in ROLES}
        own = semantics.codes[semantics.of]
        tables = {role: torch.zeros_like(own) for role in ROLES}
        codes = sign(own)
        for epoch in range(1, self.epochs + 1):
            means: dict[str, float] = {}
            for role in ROLES:
                for batch in job.batches(self.batch):
                    rows = batch.index.to(job.device)
                    views = networks[role](getattr(batch, role))
                    tables[role][rows] = views.codes.detach()
                    critics[role].learn(semantics.features[semantics.of[rows]], views.features)
                    terms = self._terms(views, batch.labels, codes[rows], semantics)
                    terms["adversary"] = self.delta * critics[role].cost(views.features) / len(job.train)
                    descents[role].step(terms, len(rows))
                means |= {f"{role}_{name}": value for name, value in descents[role].end_epoch().items()}
            codes = sign(own + tables["image"] + tables["text"])
            job.log(stage="towers", epoch=epoch, **means)
        return towers

    def _learn_labels(self, job: Job, width: int) -> Semantics:
        """Train the label network on the label sets of the rows, against its own tables."""
        classes = len(job.classes)
        head = FeatureHead({"pooled": classes}, job.bits, (self.label_hidden,), width)
        network = Network(Tower(head, {"pooled": classes}), classes).to(job.device)
        descent = self._descent(network, self.label_epochs, self.label_lr)
        sets, of, counts = job.train.labels.unique(dim=0, return_inverse=True, return_counts=True)
        features, codes = (
            torch.randn(len(sets), columns, generator=job.generator).to(job.device) for columns in (width, job.bits)
        )
        semantics = Semantics(features, codes, sets, counts.float(), of)
        for epoch in range(1, self.label_epochs + 1):
            for batch in job.batches(self.batch):
                views = network(batch.labels)
                places = of[batch.index.to(job.device)]
                features[places], codes[places] = views.features.detach(), views.codes.detach()
                descent.step(self._terms(views, batch.labels, sign(views.codes.detach()), semantics), len(places))
            job.log(stage="labels", epoch=epoch, **descent.end_epoch())
        return semantics

    def _terms(self, views: Views, labels: Tensor, codes: Tensor, semantics: Semantics) -> dict[str, Tensor]:
        """The loss of a batch over n x B, without the critic's.

        Args:
            views: of the batch.
            labels: (B, C) in {0, 1}.
            codes: (B, bits) in {-1, +1}, the batch's rows of B.
            semantics: what the label network has learned so far.
        """
        pairs = semantics.counts.sum() * len(labels)
        similar = shared_labels(labels, semantics.sets)
        weights = pair_weights(similar, semantics.counts, self.balanced_pairs)
        theta, phi = views.features @ semantics.features.T / 2, views.codes @ semantics.codes.T / 2
        return {
            "features": self.alpha * pair_loss(theta, similar, weights, self.squared),
            "codes": self.gamma * pair_loss(phi, similar, weights, self.squared),
            "quantisation": self.beta * (codes - views.codes).square().sum() / pairs,
            "labels": self.eta * (labels - views.labels).square().sum() / pairs,
        }

    def _descent(self, network: Network, epochs: int, lr: float) -> Descent:
        return Descent.adamw([network], epochs, lr, self.encoder_lr, self.weight_decay)


def pair_weights(similar: Tensor, counts: Tensor, balanced: bool) -> Tensor:
    """Share of each pair in the mean over all pairs, (B, U) to (B, U) of sum 1.

    Args:
        similar: (B, U) in {0, 1}.
        counts: (U,), how many rows a column stands for.
        balanced: similar and dissimilar pairs have one half each, where there are both.
    """
    weights = (counts / (counts.sum() * len(similar))).expand_as(similar)
    if balanced and similar.any() and not similar.all():
        share = (similar * weights).sum()
        weights = weights * torch.where(similar > 0, 1 / (2 * share), 1 / (2 * (1 - share)))
    return weights


def pair_loss(theta: Tensor, similar: Tensor, weights: Tensor, squared: bool) -> Tensor:
    """Weighted sum over pairs of log(1 + exp(theta)) - S theta, the negative log-likelihood; (B, U) each.

    `squared` is what the code has: half the square of that, with S = 0.999 where it is 1.
    """
    if squared:
        return ((softplus(theta) - SIMILAR * similar * theta).square() * weights).sum() / 2
    return ((softplus(theta) - similar * theta) * weights).sum()
