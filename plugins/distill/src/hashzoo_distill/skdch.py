"""SKDCH (Su, Gu, Ren, Fu, Zhao: Semi-Supervised Knowledge Distillation for Cross-Modal Hashing, TMM 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import shared_labels
from hashzoo.train import Descent
from hashzoo_distill.adversary import DIRECTIONS, Teacher, policy
from hashzoo_distill.neighbours import Relation, chunks, neighbours
from hashzoo_distill.networks import CodeNetworks, Features, teacher_features
from hashzoo_distill.triplets import Triplets, distance, hinge, pair_entropy

REWARD_BASE = 10.0
PULL, PULL_MARGIN = 0.02, 0.1  # weight and offset of the student's term on d+ alone


class SchGan(Teacher):
    """The teacher of SKDCH, after SCH-GAN (Zhang, Peng, Yuan): it sees the labels of some rows, and candidates of all.

    With y = 1 where both rows are one and the same pair, the discriminator's terms in each direction are

        mean max(0, margin + d+ - d-) + gamma CE(sigmoid(-d+), y+) + gamma CE(sigmoid(-d-), y-);

    the reward of a choice is r = 10^-|margin + d+ - d-|; the generator's terms, over the negatives that it chose, are

        mean |softmax(-d) - r| + CE(labels of queries) + CE(labels of negatives).

    Args:
        margin: of the triplets.
        gamma: weight of the pairs' cross-entropy.
        labels: (n, C) in {0, 1}; rows that are not `labelled` are not looked at.
        labelled: (n,) bool.
        settings: of every `Teacher`.
    """

    random_negatives = 2

    def __init__(self, margin: float, gamma: float, labels: Tensor, labelled: Tensor, **settings: float):
        super().__init__(**settings)  # type: ignore[arg-type]
        self.margin, self.gamma, self.labels, self.labelled = margin, gamma, labels, labelled

    def networks(self, features: Mapping[str, Tensor | Features]) -> CodeNetworks:
        return CodeNetworks(features, self.bits, self.hidden, classes=self.labels.shape[1])

    def discriminator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, positive: Tensor, negative: Tensor
    ) -> dict[str, Tensor]:
        anchor = networks(role, query)
        similar = distance(anchor, networks(other, positive))
        dissimilar = distance(anchor, networks(other, negative))
        own = (positive == query).to(similar)
        return {
            "triplet": hinge(similar, dissimilar, self.margin).mean(),
            "pairs": self.gamma * (pair_entropy(similar, own) + pair_entropy(dissimilar, torch.zeros_like(dissimilar))),
        }

    def reward(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        return REWARD_BASE ** -(self.margin + similar - dissimilar).abs()

    def generator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, negative: Tensor, reward: Tensor
    ) -> dict[str, Tensor]:
        return {
            "choice": (policy(networks, role, other, query, negative).exp() - reward).abs().mean(),
            "labels": self._label_entropy(networks, role, query) + self._label_entropy(networks, other, negative),
        }

    def _label_entropy(self, networks: CodeNetworks, role: str, rows: Tensor) -> Tensor:
        """Cross-entropy of the predicted labels, over those of the rows whose labels are known."""
        known = rows[self.labelled[rows]]
        if len(known) == 0:
            return torch.zeros((), device=self.labels.device)
        return binary_cross_entropy_with_logits(networks.label_logits(role, known), self.labels[known])


class SkdchTrainer(Trainer):
    """A teacher learns from the rows that are labelled, gives labels to the others, and a student learns from all.

    A row without labels gets the label set that most of its labelled neighbours have, where its neighbours are the
    nearest rows in the teacher's image codes and those in its text codes. The student's triplets are of rows that share
    (pseudo) labels and of rows that do not. With u = sigmoid(h), d+ = ||u - u+||^2 of a query and a similar row of the
    other modality, d- that of the query and a dissimilar row, d* that of the similar row and the dissimilar one, which
    are of one modality, its loss in each direction is the mean of

        max(0, margin + d+ - (d- + d*) / 2) + 0.02 max(0, 0.1 + d+)

    and gamma times the cross-entropies of `SchGan`. In the code the student has a generator, too, but its triplets are
    drawn at random: it has no effect on the codes, and there is none here.

    Args:
        labelled: share of the training rows whose labels are used, drawn by the seed; 3,000 of 4,000 in the code.
        teacher_hidden: width of the teacher's hidden layers; 8192 in the paper.
        teacher_epochs: passes with random negatives; 1,000 in the code.
        rounds: of generator against discriminator; 30 in the code.
        neighbours: how many rows vote in each space, as a share of all; 250 of 4,000 in the code.
        candidates: the generator chooses among one row in so many.
        margin: beta of the paper, of teacher and student.
        gamma: weight of the pairs' cross-entropy.
        epochs: of the student; 1,000 and 1,000 more in the code.
        batch: triplets a step.
        lr: AdamW's, of teacher and heads; SGD at 0.01 and then 1e-4 in the code.
        encoder_lr: of encoders that are trained along.
        weight_decay: AdamW's; in the code 0.01 times half the squared norm is a term of the loss.
    """

    def __init__(
        self,
        labelled: float = 0.75,
        teacher_hidden: int = 512,
        teacher_epochs: int = 20,
        rounds: int = 5,
        neighbours: float = 1 / 16,
        candidates: int = 20,
        margin: float = 5.0,
        gamma: float = 0.1,
        epochs: int = 40,
        batch: int = 256,
        lr: float = 1e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
    ):
        for name, share in (("labelled", labelled), ("neighbours", neighbours)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} is a share of the rows, over 0 and up to 1, not {share}")
        self.labelled, self.neighbours = labelled, neighbours
        self.teacher_hidden, self.teacher_epochs, self.rounds = teacher_hidden, teacher_epochs, rounds
        self.candidates, self.margin, self.gamma = candidates, margin, gamma
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay

    def fit(self, job: Job) -> Towers:
        return self._student(job, job.once(self._labels))

    def _labels(self, job: Job) -> Tensor:
        """Labels of all rows, (n, C), those of some as the teacher says; students that differ share them."""
        n = len(job.train)
        order = torch.randperm(n, generator=job.generator)
        rows = order[: max(round(self.labelled * n), 1)].sort().values
        labels = job.train.labels.clone()
        if len(rows) < n:
            hidden = order[len(rows) :].sort().values
            labels[hidden] = 0
            codes = self._teach(job, labels, rows)
            labels[hidden] = pseudo_labels(codes, labels, rows, hidden, max(round(self.neighbours * n), 1))
        return labels

    def _teach(self, job: Job, labels: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """The teacher's relaxed codes of all rows, (n, bits), from the labels, (n, C), of some rows."""
        labelled = torch.zeros(len(labels), dtype=torch.bool)
        labelled[rows] = True
        teacher = SchGan(
            self.margin,
            self.gamma,
            labels,
            labelled,
            bits=job.bits,
            hidden=self.teacher_hidden,
            epochs=self.teacher_epochs,
            rounds=self.rounds,
            batch=self.batch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            candidates=self.candidates,
        )
        return teacher.fit(job, teacher_features(job), label_triplets(job, labels, rows))

    def _student(self, job: Job, labels: Tensor) -> Towers:
        """Fit towers to triplets of rows that share labels, (n, C), and rows that do not."""
        towers = self.towers(job)
        tower = {"image": towers.image, "text": towers.text}
        inputs = {"image": job.train.image, "text": job.train.text}
        triplets = label_triplets(job, labels, torch.arange(len(labels)))
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        for epoch in range(1, self.epochs + 1):
            for role, other in DIRECTIONS:
                for queries in triplets.batches(self.batch):
                    query, positive, negative = queries.rows, queries.positives(1)[:, 0], queries.negatives(1)[:, 0]
                    u = tower[role](inputs[role](query)).sigmoid()
                    rows = torch.cat([positive, negative])
                    u_positive, u_negative = tower[other](inputs[other](rows)).sigmoid().split(len(query))
                    own = (positive == query).to(u)
                    descent.step(student_terms(u, u_positive, u_negative, own, self.margin, self.gamma), len(query))
            job.log(stage="student", epoch=epoch, **descent.end_epoch())
        return towers


def label_triplets(job: Job, labels: Tensor, rows: Tensor) -> Triplets:
    """Triplets among some rows, whose labels, of (n, C), say what is similar."""
    known = labels[rows]

    def similar(places: Tensor) -> Tensor:
        return torch.cat([shared_labels(known[part], known).bool().cpu() for part in chunks(places, len(known))])

    return Triplets(rows, Relation(similar, len(rows)), len(labels), job.generator)


def pseudo_labels(codes: dict[str, Tensor], labels: Tensor, rows: Tensor, hidden: Tensor, count: int) -> Tensor:
    """Label sets of the rows that have none: that of most labelled neighbours, in image and text codes together.

    A row without a labelled neighbour gets the labels of the nearest labelled row in the image codes.

    Args:
        codes: relaxed codes (n, L) of "image" and "text".
        labels: (n, C); only those of `rows` are looked at.
        rows, hidden: numbers of the rows with labels, (m,), and of those without, (q,).
        count: neighbours in each space, among all n rows.

    Returns:
        (q, C).
    """
    sets, set_of = labels[rows].unique(dim=0, return_inverse=True)
    found = []
    for part in chunks(hidden, len(labels)):
        voters = neighbours([*codes.values()], count, part)[:, rows]
        votes = torch.zeros(len(part), len(sets)).index_add_(1, set_of.cpu(), voters.float())
        alone = (~voters.any(dim=1)).nonzero().flatten()
        if len(alone):
            closest = torch.cdist(codes["image"][part[alone]], codes["image"][rows]).argmin(dim=1)
            votes[alone, set_of[closest].cpu()] = 1
        found.append(sets[votes.argmax(dim=1)])
    return torch.cat(found)


def student_terms(
    query: Tensor, positive: Tensor, negative: Tensor, own: Tensor, margin: float, gamma: float
) -> dict[str, Tensor]:
    """The student's loss of one direction (see `SkdchTrainer`).

    Args:
        query, positive, negative: relaxed codes in (0, 1), (B, bits).
        own: (B,), 1 where the positive row is the query's own.
        margin, gamma: see `SkdchTrainer`.
    """
    similar, dissimilar = distance(query, positive), distance(query, negative)
    away = (dissimilar + distance(positive, negative)) / 2
    return {
        "triplet": hinge(similar, away, margin).mean(),
        "pull": PULL * (PULL_MARGIN + similar).clamp_min(0).mean(),
        "pairs": gamma * (pair_entropy(similar, own) + pair_entropy(dissimilar, torch.zeros_like(own))),
    }
