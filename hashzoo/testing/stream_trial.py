"""Trial runs of a method that learns online: a few chunks of the drawn scenes, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hashzoo.fitting import make_job, seeded, state_bytes
from hashzoo.model import Outputs, Towers, encode
from hashzoo.once import bytes_held
from hashzoo.online import OnlineTrainer, log_of_chunk
from hashzoo.recipe import ROLES, Cell
from hashzoo.testing.kit import Subject
from hashzoo.testing.scenes import WatchedRows, workbench
from hashzoo.testing.trial import recipe_of
from hashzoo.train import Job, Rows

CHUNKS, ROWS = 4, 40
BITS = 16


@dataclass
class StreamTrial:
    """What learning from four chunks of 40 rows gave; an entry a chunk in each list.

    Attributes:
        given: the type of what partial_fit gave back.
        values: of the rows of the chunk, image and text, (40, 16) each if all is well.
        states: of the towers, as they are saved.
        learned: what learned_codes gave.
        sizes: bytes of tensors and arrays in the trainer.
        looked_back: whether rows of earlier chunks were looked at.
    """

    old_codes: str
    bounded_state: bool
    given: list[str] = field(default_factory=list)
    values: list[list[torch.Tensor]] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    learned: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    looked_back: list[bool] = field(default_factory=list)


def stream_trial(subject: Subject) -> StreamTrial:
    """Learn from the chunks. Remembered, so that checks share it; what it raised is remembered too."""
    outcome = _stream_trial(subject)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@functools.lru_cache(maxsize=16)
def _stream_trial(subject: Subject) -> StreamTrial | Exception | SystemExit:
    try:
        return _learn(subject)
    except (Exception, SystemExit) as error:
        return error


def _learn(subject: Subject) -> StreamTrial:
    recipe = recipe_of(subject)
    with seeded(0, threads=1):
        job = make_job(workbench(), recipe, Cell(recipe.method.name, "trial", BITS, 0), lambda **terms: None)
        trainer: OnlineTrainer = recipe.sections["trainer"].build()
        found = StreamTrial(trainer.old_codes, trainer.bounded_state)
        earlier: list[WatchedRows] = []
        for number, (rows, content) in enumerate(_chunks(job), 1):
            towers = trainer.partial_fit(replace(job, train=rows, log=log_of_chunk(job.log, number)))
            found.given.append(type(towers).__name__)
            if not isinstance(towers, Towers):
                break
            learned = trainer.learned_codes()
            found.learned.append(Outputs(learned.image.clone(), learned.text.clone()) if learned else None)
            found.sizes.append(bytes_held(trainer))
            found.looked_back.append(any(vars(old)["looked_at"] for old in earlier))
            everything = torch.arange(ROWS)
            inputs = content.image(everything), content.text(everything)
            found.values.append(
                [encode(getattr(towers, role), items) for role, items in zip(ROLES, inputs, strict=True)]
            )
            found.states.append(state_bytes(towers))
            vars(rows)["looked_at"] = False
            earlier.append(rows)
        return found


def _chunks(job: Job) -> Iterator[tuple[WatchedRows, Rows]]:
    """The job's rows in chunks of their own memory: for the trainer, and for us."""
    held = vars(job.train)
    labels = job.train.labels.bool().numpy()
    for start in range(0, CHUNKS * ROWS, ROWS):
        part = slice(start, start + ROWS)
        arrays = held["_image"][part], held["_text"][part], labels[part]
        image, text, own = (array.copy() for array in arrays)
        extra = {role: values[part].copy() for role, values in held["_extra"].items()}
        yield WatchedRows(Rows(image, text, own, job.device, extra)), Rows(*arrays, job.device)
