"""Online trainers, which learn chunk after chunk, and the rounds in which a growing database is encoded."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.codes import Codes, pack
from hashzoo.data.stream import Chunk
from hashzoo.errors import HashzooError
from hashzoo.model import Outputs, Towers
from hashzoo.once import bytes_held
from hashzoo.train import Job, Rows, Trainer

OLD_CODES = ("kept", "recomputed", "revised")
ROLES = ("image", "text")


class OnlineTrainer(Trainer):
    """Fits towers chunk after chunk. What it has learned it keeps in itself: one object is one stream.

    Attributes:
        old_codes: what becomes of the codes of earlier chunks. "kept": they stay. "recomputed": the towers encode all
            rows again in each round. "revised": `learned_codes` gives those of all training rows so far.
        bounded_state: whether it claims that what it keeps does not grow with the number of chunks.
        chunk: rows of a chunk where `fit` cuts a job into chunks.
    """

    old_codes: str = "kept"
    bounded_state: bool = False
    chunk: int = 2000

    @abstractmethod
    def partial_fit(self, job: Job) -> Towers:
        """Learn from one more chunk and give back towers for all that has been learned so far.

        `job.train` holds the rows of this chunk alone, and `job.val` those of its rows that are held out, or None. The
        generator goes on, and the loss is the same object, from chunk to chunk; `job.towers()` standardises by
        statistics of this chunk.
        """

    def learned_codes(self) -> Outputs | None:
        """Real-valued database codes of the training rows of the last chunk, (rows, bits) each, in their order.

        For a method that learns codes of its rows beside towers; None, the default, lets the towers encode them. With
        `old_codes = "revised"`: of all training rows so far, oldest first.
        """
        return None

    def fit(self, job: Job) -> Towers:
        """`partial_fit` over the job's rows in random order: floor(rows / chunk) chunks, the last takes the remainder.

        Val rows come with each chunk.
        """
        order = torch.randperm(len(job.train), generator=job.generator)
        count = max(1, len(order) // self.chunk)
        towers: Towers | None = None
        for number in range(1, count + 1):
            end = None if number == count else number * self.chunk
            rows = RowsOf(job.train, order[(number - 1) * self.chunk : end])
            towers = self.partial_fit(replace(job, train=rows, log=log_of_chunk(job.log, number)))
        assert towers is not None
        return towers


class RowsOf(Rows):
    """Some of the rows of a job, by their numbers, as rows 0..n-1."""

    def __init__(self, rows: Rows, numbers: Tensor):
        self._rows, self._numbers, self.device = rows, numbers, rows.device
        self._labels = rows.labels[numbers.to(rows.device)].bool()

    def image(self, index: Tensor) -> Tensor:
        return self._rows.image(self._numbers[index])

    def text(self, index: Tensor) -> Tensor:
        return self._rows.text(self._numbers[index])

    def extra(self, role: str, index: Tensor) -> Tensor:
        return self._rows.extra(role, self._numbers[index])


def log_of_chunk(log: Callable[..., None], number: int) -> Callable[..., None]:
    """`job.log` for one chunk: what is logged counts its epochs from 1 in each."""

    def logged(**terms: Any) -> None:
        log(**terms | {"stage": " ".join([f"chunk {number}", *([terms["stage"]] if "stage" in terms else [])])})

    return logged


def jobs_of_chunks(chunks: Sequence[Chunk], make: Callable[[Chunk], Job]) -> Iterator[Job]:
    """The job of each chunk, made when it is asked for; randomness and loss go on from one to the next."""
    first: Job | None = None
    for number, chunk in enumerate(chunks, 1):
        job = make(chunk)
        first = first or job
        yield replace(job, generator=first.generator, loss=first.loss, log=log_of_chunk(job.log, number))


class Rounds:
    """Trains over a stream, and makes the codes of queries and database after each round.

    Args:
        query: (Q,) rows of the data set.
        chunks: of the database, in order of arrival.
        encode: tower and rows of a role, `encode(role, tower, rows)`, to codes.
        database_codes: as in `Stream`.
    """

    def __init__(
        self,
        query: np.ndarray,
        chunks: Sequence[Chunk],
        encode: Callable[[str, nn.Module, np.ndarray], Codes],
        database_codes: str = "method",
    ):
        self.query, self.chunks, self.encode = query, chunks, encode
        self.database_codes = database_codes
        self.codes: list[dict[str, Codes]] = []  # a round: as `fitting.encode_rows` names them
        self.costs: list[dict[str, Any]] = []  # a round: what it took, as plain JSON
        self.seconds = {"train": 0.0, "encode": 0.0}
        self.old_codes, self.learned_codes = "kept", False

    @property
    def about(self) -> dict[str, Any]:
        """What a run keeps of them beside codes, as plain JSON."""
        return {"old_codes": self.old_codes, "learned_codes": self.learned_codes, "rounds": self.costs}

    def online(self, trainer: OnlineTrainer, jobs: Iterator[Job]) -> Towers:
        """Learn from one chunk after the other, and encode after each."""
        if self.database_codes == "method":
            self.old_codes, self.learned_codes = trainer.old_codes, trainer.old_codes != "recomputed"
        else:
            self.old_codes = self.database_codes
        policy = self.old_codes
        if policy not in OLD_CODES:
            raise HashzooError(f"old_codes of a trainer is one of {', '.join(OLD_CODES)}, not '{policy}'", exit_code=1)
        for number, (chunk, job) in enumerate(zip(self.chunks, jobs, strict=True)):
            start = time.perf_counter()
            towers = trainer.partial_fit(job)
            learned = trainer.learned_codes() if self.learned_codes else None
            if job.device.type == "cuda":
                torch.cuda.synchronize(job.device)
            trained = time.perf_counter()
            if not isinstance(towers, Towers):
                raise HashzooError(f"partial_fit gave back {type(towers).__name__}, not Towers", exit_code=1)
            if policy == "revised" and learned is None:
                raise HashzooError("a trainer that revises old codes gives them as learned_codes()", exit_code=1)
            seen = self.chunks[: number + 1]
            rows = np.concatenate([part.rows for part in seen]) if policy == "recomputed" else chunk.rows
            codes = self._encoded(towers, rows)
            if policy != "recomputed" and number:
                for name in (f"{role}_database" for role in ROLES):
                    codes[name] = _joined(self.codes[-1][name], codes[name])
            if learned is not None:
                self._place(learned, codes, seen, job.bits, policy == "revised")
            self.codes.append(codes)
            self._count({"train": trained - start, "encode": time.perf_counter() - trained}, bytes_held(trainer))
        self.learned_codes = learned is not None
        return towers

    def offline(self, fit: Callable[[], Towers]) -> Towers:
        """Train on all chunks together and encode once: what online methods are held against."""
        start = time.perf_counter()
        towers = fit()
        trained = time.perf_counter()
        codes = self._encoded(towers, np.concatenate([chunk.rows for chunk in self.chunks]))
        self.seconds = {"train": trained - start, "encode": time.perf_counter() - trained}
        for end in np.cumsum([len(chunk.rows) for chunk in self.chunks]):
            self.codes.append({name: c[:end] if name.endswith("_database") else c for name, c in codes.items()})
            self.costs.append({})
        return towers

    def _encoded(self, towers: Towers, rows: np.ndarray) -> dict[str, Codes]:
        return {
            f"{role}_{split}": self.encode(role, getattr(towers, role), numbers)
            for role in ROLES
            for split, numbers in (("query", self.query), ("database", rows))
        }

    def _place(
        self, learned: Outputs, codes: Mapping[str, Codes], seen: Sequence[Chunk], bits: int, all_rows: bool
    ) -> None:
        """Put learned codes where their rows stand in the database."""
        starts = np.cumsum([0, *(len(chunk.rows) for chunk in seen[:-1])])
        places = [start + chunk.places for start, chunk in zip(starts, seen, strict=True)]
        where = np.concatenate(places) if all_rows else places[-1]
        for role in ROLES:
            values = getattr(learned, role)
            if values.shape != (len(where), bits):
                raise HashzooError(
                    f"learned_codes() gave {role} codes of shape {tuple(values.shape)} for {len(where)} rows of "
                    f"{bits} bits",
                    exit_code=1,
                )
            codes[f"{role}_database"].data[where] = pack(values).data

    def _count(self, seconds: Mapping[str, float], kept: int) -> None:
        for name, value in seconds.items():
            self.seconds[name] += value
        rounded = {name: round(value, 4) for name, value in seconds.items()}
        self.costs.append({"seconds": rounded, "state_bytes": kept})


def _joined(old: Codes, new: Codes) -> Codes:
    return Codes(np.concatenate([old.data, new.data]), new.bits)
