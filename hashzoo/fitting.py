"""From a recipe to towers and codes: a trainer's job, its training, the codes of query and database rows."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors.torch
import torch

from hashzoo.benches.workbench import Workbench
from hashzoo.codes import Codes, pack
from hashzoo.cost import cost_of
from hashzoo.data.stream import chunks
from hashzoo.data.training import SeenRows, Training
from hashzoo.encoders.base import numbers
from hashzoo.errors import HashzooError
from hashzoo.features.cache import Encoded
from hashzoo.model import Tower, Towers, encode
from hashzoo.once import Common
from hashzoo.online import OnlineTrainer, Rounds, jobs_of_chunks
from hashzoo.recipe import ROLES, Cell, Recipe, modality_of
from hashzoo.settings import plain
from hashzoo.storage.arrays import take
from hashzoo.storage.files import digest
from hashzoo.train import STATISTICS_ROWS, Job, Rows

STATISTICS_NUMBERS = 2**27  # half a gigabyte


def fit(recipe: Recipe, job: Job) -> Towers:
    """Train one cell on its job; the caller has seeded the generators (`seeded`)."""
    trainer = recipe.sections["trainer"].build()
    towers = trainer.fit(job)
    if not isinstance(towers, Towers):
        name = recipe.method.name
        raise HashzooError(f"the trainer of '{name}' gave back {type(towers).__name__}, not Towers", exit_code=1)
    if job.common is not None:
        job.common.memo.check()
    return towers


def learns_online(recipe: Recipe) -> bool:
    """Whether the trainer of a recipe learns chunk after chunk."""
    return issubclass(recipe.sections["trainer"].target, OnlineTrainer)


def fit_rounds(bench: Workbench, recipe: Recipe, cell: Cell, log: Callable[..., None]) -> tuple[Towers, Rounds]:
    """Train on a database that arrives in chunks; a method that does not learn online, on all of them together."""
    stream = bench.track.stream
    parts = chunks(bench.training, bench.dataset.splits.database, stream["rows"])

    def encoded(role: str, tower: torch.nn.Module, rows: np.ndarray) -> Codes:
        return _codes(cell, role, tower, bench.encoded(recipe, role).inputs, rows)

    rounds = Rounds(bench.dataset.splits.query, parts, encoded, stream["database_codes"])
    if learns_online(recipe):
        jobs = jobs_of_chunks(parts, lambda chunk: make_job(bench, recipe, cell, log, chunk.training))
        return rounds.online(recipe.sections["trainer"].build(), jobs), rounds
    job = replace(make_job(bench, recipe, cell, log), common=None)  # seconds are held against those of online methods
    return rounds.offline(lambda: fit(recipe, job)), rounds


def encode_rows(bench: Workbench, recipe: Recipe, cell: Cell, towers: Towers) -> dict[str, Codes]:
    """Codes of the query and database rows: "image_query", "image_database", "text_query", "text_database"."""
    splits = {"query": bench.dataset.splits.query, "database": bench.dataset.splits.database}
    return {
        f"{role}_{split}": _codes(cell, role, getattr(towers, role), bench.encoded(recipe, role).inputs, rows)
        for role in ROLES
        for split, rows in splits.items()
    }


def encoding_cost(bench: Workbench, recipe: Recipe, towers: Towers) -> dict[str, dict[str, int]]:
    """What it takes to encode one row with these towers, by role: see `cost_of`."""
    first = bench.dataset.splits.query[:1]
    image, text = (torch.from_numpy(take(bench.encoded(recipe, role).inputs, first)).to(bench.device) for role in ROLES)
    return cost_of(towers, image, text)


def state_bytes(towers: Towers) -> bytes:
    """Parameters and buffers in the safetensors format: what `model.safetensors` holds."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in towers.state_dict().items()}
    return safetensors.torch.save(state)


def make_job(
    bench: Workbench, recipe: Recipe, cell: Cell, log: Callable[..., None], training: Training | None = None
) -> Job:
    """The job of one cell: training and validation rows, fresh towers, text inputs. Nothing of query or database.

    `training` is all that is trained on unless told otherwise: of a stream, what arrives in one chunk.
    """
    encoded = {role: bench.encoded(recipe, role) for role in recipe.encoders}
    seen = training or bench.training
    telling = {role: _telling(encoded[role], seen.train.numbers(role)) for role in ROLES}
    standards = {role: bench.standard(recipe, role, rows) for role, rows in telling.items()}

    def tower(role: str) -> Tower:
        part = encoded[role]
        if f"{role}_head" not in recipe.sections:
            raise HashzooError(f"'{recipe.method.name}' names no {role} head, so there is no job.towers()", exit_code=1)
        head = recipe.sections[f"{role}_head"].build(widths=part.widths, bits=cell.bits)
        made = Tower(head, part.widths, None if part.frozen else part.trainable_encoder())
        made.set_standard(*standards[role])
        return made

    def rows(split: SeenRows) -> Rows:
        inputs = {role: part.inputs_of(split.numbers(modality_of(role))) for role, part in encoded.items()}
        return Rows(inputs.pop("image"), inputs.pop("text"), split.labels, bench.device, extra=inputs)

    def text_inputs(strings: Sequence[str]) -> torch.Tensor:
        return bench.text_inputs(recipe, list(strings)).to(bench.device)

    train = rows(seen.train)
    return Job(
        train=train,
        bits=cell.bits,
        classes=bench.dataset.classes,
        widths={role: dict(part.widths) for role, part in encoded.items()},
        loss=recipe.sections["loss"].build().to(bench.device) if "loss" in recipe.sections else None,
        device=bench.device,
        generator=torch.Generator().manual_seed(cell.seed),
        towers=lambda: Towers(tower("image"), tower("text")).to(bench.device),
        text_inputs=None if encoded["text"].described.looks_up else text_inputs,
        log=log,
        val=rows(seen.val) if len(seen.val) else None,
        common=_common(bench, recipe, cell, encoded, train) if training is None else None,
    )


def _common(bench: Workbench, recipe: Recipe, cell: Cell, encoded: Mapping[str, Encoded], train: Rows) -> Common:
    """What a cell that learns from all training rows has in common with the others of a bench."""
    names = [name for name in (f"{role}_head" for role in ROLES) if name in recipe.sections]
    heads = [[f"{recipe.sections[name].target}", plain(recipe.sections[name].settings)] for name in names]
    return Common(
        memo=bench.memo,
        rows=train,
        scope=digest([{role: id(part) for role, part in encoded.items()}, torch.get_num_threads()]),
        differing={"bits": cell.bits, "towers": [cell.bits, heads], "loss": object()},
    )


def _telling(encoded: Encoded, rows: np.ndarray) -> np.ndarray:
    """So many of some rows as tell how all features are centred and scaled; fewer of wide ones, such as tokens."""
    wide = sum(numbers(width) for width in encoded.widths.values())
    return rows[: min(STATISTICS_ROWS, STATISTICS_NUMBERS // wide)]


def _codes(cell: Cell, role: str, tower: torch.nn.Module, inputs: np.ndarray, rows: np.ndarray) -> Codes:
    """Codes of some rows, in blocks; what a tower gives is checked here, for every method alike."""
    packed = np.empty((len(rows), -(-cell.bits // 8)), dtype=np.uint8)
    for start in range(0, len(rows), 8192):
        values = encode(tower, torch.from_numpy(take(inputs, rows[start : start + 8192])))
        if values.ndim != 2 or values.shape[1] != cell.bits:
            raise HashzooError(
                f"the {role} tower of '{cell.method}' gave {tuple(values.shape)[1:]} values a row, not {cell.bits}",
                exit_code=1,
            )
        if not torch.isfinite(values).all():
            raise HashzooError(f"the {role} tower of '{cell.method}' gave values that are not finite", exit_code=1)
        packed[start : start + 8192] = pack((values > 0).numpy()).data
    return Codes(packed, cell.bits)


@contextlib.contextmanager
def seeded(seed: int, threads: int) -> Iterator[None]:
    """Seed every global generator for the block, with deterministic kernels; put all of it back afterwards."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - plugins may use the old interface
    deterministic, thread_count = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            torch.set_num_threads(threads)
            # What torch.use_deterministic_algorithms does, which loads torch's compiler to tell it too.
            torch.set_deterministic_debug_mode("warn")
            yield
    finally:
        torch.set_deterministic_debug_mode(deterministic)
        torch.set_num_threads(thread_count)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002


def log_line(terms: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer logged as a line of train.jsonl: tensors and numpy's numbers become floats."""
    return {name: float(value) if hasattr(value, "item") else value for name, value in terms.items()}
