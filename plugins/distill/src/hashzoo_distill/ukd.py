"""UKD (Hu, Xie, Hong, Tian: Creating Something from Nothing, CVPR 2020): supervision without any label."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hashzoo import Job, Towers, Trainer
from hashzoo.losses import in_blocks, shared_labels, sign
from hashzoo.train import Descent
from hashzoo_distill.adversary import Teacher, policy
from hashzoo_distill.neighbours import NearestRows, Relation, chunks, neighbours
from hashzoo_distill.networks import CodeNetworks, teacher_features
from hashzoo_distill.triplets import Triplets, distance, hinge

SIMILAR = 0.999  # S of neighbours; at 1 the pair term of the student would have its minimum at infinity
SPACES = {"union": ("image", "text"), "image": ("image",), "text": ("text",)}
ROLES = ("image", "text")
MEASURED = 2000  # rows on which the neighbours are compared with labels


class Ugach(Teacher):
    """UGACH (Zhang, Peng, Yuan, AAAI 2018), which needs no label.

    The discriminator's term in each direction, and the same inside one modality times `intra`, is

        mean max(0, margin + d+ - d-);    reward r = sigmoid(max(0, margin + d+ - d-));

    the generator's, over the negatives that it chose, is -mean(r log softmax(-d)).

    Args:
        margin: of the triplets; an eighth of the bits in the code.
        intra: weight of triplets inside one modality.
        settings: of every `Teacher`.
    """

    def __init__(self, margin: float, intra: float, **settings: float):
        super().__init__(**settings)  # type: ignore[arg-type]
        self.margin, self.intra = margin, intra

    def discriminator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, positive: Tensor, negative: Tensor
    ) -> dict[str, Tensor]:
        anchor = networks(role, query)
        terms = {"triplet": self._triplet(networks, anchor, other, positive, negative)}
        if self.intra:
            terms["intra"] = self.intra * self._triplet(networks, anchor, role, positive, negative)
        return terms

    def reward(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        return hinge(similar, dissimilar, self.margin).sigmoid()

    def generator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, negative: Tensor, reward: Tensor
    ) -> dict[str, Tensor]:
        return {"choice": -(policy(networks, role, other, query, negative) * reward).mean()}

    def _triplet(self, networks: CodeNetworks, anchor: Tensor, role: str, positive: Tensor, negative: Tensor) -> Tensor:
        similar = distance(anchor, networks(role, positive))
        return hinge(similar, distance(anchor, networks(role, negative)), self.margin).mean()


class UkdTrainer(Trainer):
    """A teacher without labels says which rows are similar; a student learns from that as if it were labels.

    The teacher is `Ugach` on the features of encoders of its own, with the nearest rows of each row as its positives.
    S_ij = 0.999 where j is among the nearest rows of i in the teacher's codes, else 0. With the (n, bits) tables of
    both towers' outputs as in DCMH, theta_ij = <h_i, g_j> / 2 and b_i = sign(h_i), the student's loss of a batch is

        1/2 sum_ij (S_ij theta_ij - log(1 + exp(theta_ij)))^2 + beta / 2 sum_i ||b_i - h_i||^2

    over n x batch: the square of the logarithm of the likelihood, as in the code of SSAH, which it is based on.

    Args:
        teacher_bits: of the teacher, whatever the student's length; 128 in the paper.
        teacher_hidden: width of its hidden layers; 8192 in the paper.
        teacher_epochs: passes with random negatives; 200 in the code.
        rounds: of generator against discriminator; 30 in the code.
        teacher_batch: triplets a step; 512 in the code.
        teacher_lr: AdamW's; SGD at 0.01 in the code.
        graph: the teacher's positives are so many nearest rows of each feature space. 1: a row's own pair alone.
        margin: of the teacher's triplets, as a share of its bits.
        intra: weight of the triplets inside one modality.
        candidates: the generator chooses among one row in so many.
        neighbours: how many rows are similar to a row in each space of the teacher, as a share of all; 10,000 of
            18,015 in the paper, on MIRFLICKR-25K, where about half of all pairs share a label. Where fewer do, that
            many neighbours make most rows similar, and the codes collapse.
        similarity: nearest in the teacher's "image" codes, in its "text" codes, or in their "union".
        epochs: of the student, each one pass over images and one over texts; 60 in the code.
        batch: rows a step of the student; 256 in the code.
        lr: of the student's heads; 1e-4 in the code.
        encoder_lr: of encoders that are trained along.
        weight_decay: AdamW's, of teacher and student.
        beta: weight of the student's quantisation.
        balanced_pairs: similar and dissimilar pairs weigh alike in the student's loss; not in the paper, whose plain
            sum draws all codes of a modality to one where few pairs are similar.
    """

    def __init__(
        self,
        teacher_bits: int = 128,
        teacher_hidden: int = 512,
        teacher_epochs: int = 20,
        rounds: int = 5,
        teacher_batch: int = 256,
        teacher_lr: float = 1e-3,
        graph: int = 5,
        margin: float = 0.125,
        intra: float = 0.1,
        candidates: int = 50,
        neighbours: float = 0.1,
        similarity: str = "union",
        epochs: int = 25,
        batch: int = 128,
        lr: float = 2e-3,
        encoder_lr: float = 1e-5,
        weight_decay: float = 1e-4,
        beta: float = 1.0,
        balanced_pairs: bool = True,
    ):
        if similarity not in SPACES:
            raise ValueError(f"similarity is union, image or text, not '{similarity}'")
        if not 0 < neighbours <= 1:
            raise ValueError(f"neighbours is a share of the rows, over 0 and up to 1, not {neighbours}")
        if graph < 1:
            raise ValueError(f"graph is how many nearest rows are positives, 1 or more, not {graph}")
        self.teacher_bits, self.teacher_hidden = teacher_bits, teacher_hidden
        self.teacher_epochs, self.rounds = teacher_epochs, rounds
        self.teacher_batch, self.teacher_lr = teacher_batch, teacher_lr
        self.margin, self.intra, self.candidates = margin, intra, candidates
        self.graph, self.neighbours, self.similarity = graph, neighbours, similarity
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay
        self.beta, self.balanced_pairs = beta, balanced_pairs

    def fit(self, job: Job) -> Towers:
        n, codes = len(job.train), job.once(self._taught)
        spaces, count = [codes[role] for role in SPACES[self.similarity]], max(round(self.neighbours * n), 1)
        similar = Relation(lambda rows: neighbours(spaces, count, rows), n)
        job.log(stage="game", neighbour_precision=_precision(job, similar))
        return self._student(job, similar)

    def _taught(self, job: Job) -> dict[str, Tensor]:
        """The teacher's relaxed codes of all rows, (n, teacher_bits); students of all lengths share them."""
        teacher = Ugach(
            self.margin * self.teacher_bits,
            self.intra,
            bits=self.teacher_bits,
            hidden=self.teacher_hidden,
            epochs=self.teacher_epochs,
            rounds=self.rounds,
            batch=self.teacher_batch,
            lr=self.teacher_lr,
            weight_decay=self.weight_decay,
            candidates=self.candidates,
        )
        n, features = len(job.train), teacher_features(job)
        graph = NearestRows([*features.values()], self.graph)
        return teacher.fit(job, features, Triplets(torch.arange(n), graph, n, job.generator))

    def _student(self, job: Job, similar: Relation) -> Towers:
        """Fit towers to a relation of the training rows, which says what is similar to a row."""
        towers = self.towers(job)
        tower = {"image": towers.image, "text": towers.text}
        shape = (len(job.train), job.bits)
        tables = {role: torch.randn(shape, generator=job.generator).to(job.device) for role in ROLES}
        descents = {
            role: Descent.adamw([tower[role]], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
            for role in ROLES
        }
        for epoch in range(1, self.epochs + 1):
            means: dict[str, float] = {}
            for role, other in (ROLES, ROLES[::-1]):
                for batch in job.batches(self.batch):
                    h = tower[role](getattr(batch, role))
                    tables[role][batch.index] = h.detach()
                    near = similar(batch.index).to(job.device)
                    terms = student_terms(h, tables[other], near, self.beta, self.balanced_pairs)
                    descents[role].step(terms, len(batch.index))
                means |= {f"{role}_{name}": value for name, value in descents[role].end_epoch().items()}
            job.log(stage="student", epoch=epoch, **means)
        return towers


def student_terms(h: Tensor, table: Tensor, similar: Tensor, beta: float, balanced: bool) -> dict[str, Tensor]:
    """The student's loss of a batch over n x B (see `UkdTrainer`).

    Args:
        h: (B, bits).
        table: the other tower's outputs, (n, bits).
        similar: (B, n) bool; S is 0.999 there.
        beta: weight of the quantisation, each output to its own sign.
        balanced: similar and dissimilar pairs weigh one half each, however many there are.
    """
    pairs = similar.numel()
    share = similar.count_nonzero().to(h.dtype) / pairs  # a third of the time of a sum, or less

    def squares(h: Tensor, rows: slice) -> Tensor:
        theta = h @ table[rows].T / 2
        errors = (similar[:, rows].to(h.dtype) * SIMILAR * theta - softplus(theta)).square()
        if balanced and 0 < share < 1:
            errors = errors * torch.where(similar[:, rows], 1 / (2 * share), 1 / (2 * (1 - share)))
        return errors.sum() / pairs / 2

    quantisation = beta / 2 * (sign(h.detach()) - h).square().sum() / pairs
    return {"pairs": in_blocks(squares, h, len(table)), "quantisation": quantisation}


def _precision(job: Job, similar: Relation) -> float:
    """Share of pairs, among those said to be similar, that share a label: a measurement, from which nothing is learned.

    Over some rows; the code prints it too.
    """
    labels, found, right = job.train.labels, 0, 0
    rows = torch.arange(similar.n)[:: -(-similar.n // MEASURED)]
    for part in chunks(rows, similar.n):
        near = similar(part)
        shared = shared_labels(labels[part], labels).bool().cpu()
        found += int(near.count_nonzero())
        right += int((near & shared).count_nonzero())
    return right / found
