"""The adversarial teachers of UGACH (Zhang, Peng, Yuan, AAAI 2018) and SCH-GAN, as UKD and SKDCH use them.

A generator picks rows that the query might be confused with; a discriminator, which becomes the teacher, learns to hold
them away. The discriminator is first trained with negatives drawn at random.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from hashzoo import Job
from hashzoo.train import Descent
from hashzoo_distill.networks import CodeNetworks, Features
from hashzoo_distill.triplets import Queries, Triplets, distance

DIRECTIONS = (("image", "text"), ("text", "image"))
CHOSEN = 2  # negatives that a generator chooses for a query
GENERATOR_PASSES = 2  # in each round
NUMBERS = 2**24  # of candidates' codes that are held at a time


class Teacher(ABC):
    """Trains a discriminator against a generator.

    Args:
        bits: of the teacher's relaxed codes.
        hidden: width of the hidden layers.
        epochs: passes with random negatives, of both directions.
        rounds: of the game; each is two passes of the generator and one of the discriminator.
        batch: triplets a step.
        lr, weight_decay: AdamW's, with cosine decay over epochs and rounds.
        candidates: a generator chooses among one row in so many.
    """

    random_negatives = 0  # that join the generator's in a round, for each query

    def __init__(
        self,
        bits: int,
        hidden: int,
        epochs: int,
        rounds: int,
        batch: int,
        lr: float,
        weight_decay: float,
        candidates: int,
    ):
        self.bits, self.hidden, self.epochs, self.rounds = bits, hidden, epochs, rounds
        self.batch, self.lr, self.weight_decay, self.candidates = batch, lr, weight_decay, candidates

    @abstractmethod
    def discriminator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, positive: Tensor, negative: Tensor
    ) -> dict[str, Tensor]:
        """Terms over triplets of rows, (B, 1), (B, k) and (B, k): queries of one modality, the rest of the other."""

    @abstractmethod
    def reward(self, similar: Tensor, dissimilar: Tensor) -> Tensor:
        """What a generator gets for a negative at a distance d- from the query whose positive is at d+."""

    @abstractmethod
    def generator_terms(
        self, networks: CodeNetworks, role: str, other: str, query: Tensor, negative: Tensor, reward: Tensor
    ) -> dict[str, Tensor]:
        """Terms over queries (B, 1), the negatives that were chosen for them, (B, k), and their rewards, (B, k)."""

    def networks(self, features: Mapping[str, Tensor | Features]) -> CodeNetworks:
        """Untrained networks of the generator; the discriminator's never predict labels."""
        return CodeNetworks(features, self.bits, self.hidden)

    def fit(self, job: Job, features: Mapping[str, Tensor | Features], triplets: Triplets) -> dict[str, Tensor]:
        """Relaxed codes of all training rows by modality, (n, bits).

        Args:
            job: for its generator and log.
            features: standardised, (n, width), by modality.
            triplets: what is known of the similarity of rows.
        """
        discriminator = CodeNetworks(features, self.bits, self.hidden)
        descent = self._descent(discriminator, self.epochs + self.rounds)
        for epoch in range(1, self.epochs + 1):
            for role, other in DIRECTIONS:
                for queries in triplets.batches(self.batch):
                    query, positive, negative = queries.rows, queries.positives(1), queries.negatives(1)
                    terms = self.discriminator_terms(discriminator, role, other, query[:, None], positive, negative)
                    descent.step(terms, len(query))
            job.log(stage="teacher", epoch=epoch, **descent.end_epoch())
        self._play(job, discriminator, descent, triplets)
        return {role: discriminator.codes(role) for role in features}

    def _play(self, job: Job, discriminator: CodeNetworks, descent: Descent, triplets: Triplets) -> None:
        generator = self.networks(discriminator.features)
        generator_descent = self._descent(generator, self.rounds)
        for number in range(1, self.rounds + 1):
            for role, other in DIRECTIONS * GENERATOR_PASSES:
                self._train_generator(generator, generator_descent, discriminator, triplets, role, other)
            for role, other in DIRECTIONS:
                self._train_discriminator(discriminator, descent, generator, triplets, role, other)
            learned = {f"generator_{name}": value for name, value in generator_descent.end_epoch().items()}
            job.log(stage="game", epoch=number, **learned, **descent.end_epoch())

    def _train_generator(
        self,
        generator: CodeNetworks,
        descent: Descent,
        discriminator: CodeNetworks,
        triplets: Triplets,
        role: str,
        other: str,
    ) -> None:
        codes = generator.codes(role), generator.codes(other)
        for queries in triplets.batches(max(self.batch // CHOSEN, 1)):
            query, negative = queries.rows, self._choose(codes, queries, spare_positives=False)
            positive = queries.positives(CHOSEN)
            with torch.no_grad():
                anchor = discriminator(role, query[:, None])
                similar = distance(anchor, discriminator(other, positive))
                reward = self.reward(similar, distance(anchor, discriminator(other, negative)))
            terms = self.generator_terms(generator, role, other, query[:, None], negative, reward)
            descent.step(terms, len(query))

    def _train_discriminator(
        self,
        discriminator: CodeNetworks,
        descent: Descent,
        generator: CodeNetworks,
        triplets: Triplets,
        role: str,
        other: str,
    ) -> None:
        count = CHOSEN + self.random_negatives
        codes = generator.codes(role), generator.codes(other)
        for queries in triplets.batches(max(self.batch // count, 1)):
            chosen = self._choose(codes, queries, spare_positives=True)
            if self.random_negatives:
                chosen = torch.cat([chosen, queries.negatives(self.random_negatives)], dim=1)
            query, positive = queries.rows, queries.positives(count)
            terms = self.discriminator_terms(discriminator, role, other, query[:, None], positive, chosen)
            descent.step(terms, len(query))

    def _choose(self, codes: tuple[Tensor, Tensor], queries: Queries, spare_positives: bool) -> Tensor:
        """Rows that the generator chooses for each query, (B, CHOSEN), by softmax(-d) over random candidates.

        Args:
            codes: the generator's, of all rows, of the queries' modality and of the other.
            queries: with what is known of them, and the source of randomness.
            spare_positives: choose none that is known to be similar to the query, where there is another candidate.
        """
        n, generator = queries.triplets.n, queries.triplets.generator
        count = max(n // self.candidates, CHOSEN)
        candidates = torch.randint(n, (len(queries.rows), count), generator=generator)
        own, others = codes
        size = max(NUMBERS // (count * own.shape[1]), 1)
        parts = zip(queries.rows.split(size), candidates.split(size), strict=True)
        distances = torch.cat([distance(own[query][:, None], others[among]) for query, among in parts]).cpu()
        if spare_positives:
            positives = queries.are_positives(candidates)
            distances = distances.masked_fill(positives & ~positives.all(dim=1, keepdim=True), torch.inf)
        weights = (-distances).softmax(dim=1)
        places = torch.multinomial(weights, CHOSEN, replacement=True, generator=generator)
        return candidates.gather(1, places)

    def _descent(self, networks: CodeNetworks, epochs: int) -> Descent:
        return Descent.adamw([networks], epochs, self.lr, self.lr, self.weight_decay)


def policy(networks: CodeNetworks, role: str, other: str, query: Tensor, negative: Tensor) -> Tensor:
    """Logarithms of the generator's choice among the negatives, (B, k): log softmax(-d) over those of one query."""
    return (-distance(networks(role, query), networks(other, negative))).log_softmax(dim=1)
