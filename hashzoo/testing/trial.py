"""Trial runs of a method: on drawn scenes, with encoders that need no weights, through the core's own code."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch

from hashzoo.codes import Codes
from hashzoo.encoders.base import numbers
from hashzoo.fitting import encode_rows, fit, log_line, make_job, seeded, state_bytes
from hashzoo.model import Towers
from hashzoo.once import Memo
from hashzoo.plugin import Method, Part
from hashzoo.recipe import Cell, Recipe, build, modality_of
from hashzoo.settings import Assignment
from hashzoo.storage.files import digest
from hashzoo.testing import import_probe
from hashzoo.testing.kit import Subject
from hashzoo.testing.scenes import GradientRows, WatchedRows, tripwire, workbench
from hashzoo.train import Job, Rows
from hashzoo.zoo import Plugin, Zoo

ENCODERS = {"image": "thumbnail", "text": "bow"}
WORDS = Assignment(None, "text", "size", "256")
THUMBNAIL = Part("thumbnail", "hashzoo.testing.scenes:Thumbnail", "mean colours of 8 x 8 fields")


@dataclass(frozen=True)
class Trial:
    """What one training gave.

    Attributes:
        towers: as fit gave them back.
        codes: of query and database rows, as `fitting.encode_rows` names them.
        state: what `model.safetensors` would hold.
        lines: what `train.jsonl` would hold.
        learned: whether fit looked at any training row.
        altered: what of the job's rows has changed, in words.
        taken: what fit did to data sets, in words (see `tripwire`).
        disturbed: what of the process has changed, in words.
        descended_on_val: whether a gradient was taken through val rows; asked for with val="watched".
    """

    towers: Towers
    codes: dict[str, Codes]
    state: bytes
    lines: list[dict[str, Any]]
    learned: bool
    altered: list[str]
    taken: list[str]
    disturbed: list[str]
    descended_on_val: bool


@functools.lru_cache(maxsize=64)
def recipe_of(subject: Subject) -> Recipe:
    """The recipe of a method; a trainer that no method uses becomes one with linear heads and the pairwise loss."""
    offers: dict[str, tuple[Part | Method, ...]] = {"encoder": (THUMBNAIL,)}
    if isinstance(subject.offer, Method):
        method = subject.offer
    else:
        linear = {"image_head.hidden": 0, "text_head.hidden": 0}
        method = Method(f"{subject.name}-alone", "thumbnail", "bow", "pairwise", subject.name, settings=linear)
        offers["method"] = (method,)
    # A method must not take further encoders for those of the pair, so that they give another number of features.
    words = [WORDS, *(Assignment(None, role, "size", "128") for role in method.extra if modality_of(role) == "text")]
    trial = Plugin("trial", "trial", "0", "ok", offers=offers)
    return build(Zoo((*subject.zoo.plugins, trial)), method.name, ENCODERS, words)


def trial(
    subject: Subject,
    *,
    bits: int = 16,
    seed: int = 0,
    threads: int = 1,
    again: int = 0,
    recast: bool = False,
    val: str = "given",
) -> Trial:
    """Train once and encode. Remembered, so that checks share what they can; what it raised is remembered too.

    Args:
        again: asks for another training that is equal in all else.
        recast: whether rows that fit may not see show something else than usual.
        val: "given", "withheld" (None) or "watched" (see `GradientRows`).
    """
    outcome = _trial(subject, bits, seed, threads, again, recast, val)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@functools.lru_cache(maxsize=16)
def _trial(
    subject: Subject, bits: int, seed: int, threads: int, again: int, recast: bool, val: str
) -> Trial | Exception | SystemExit:
    try:
        return _train(subject, bits, seed, threads, recast, val)
    except (Exception, SystemExit) as error:
        return error


def _train(subject: Subject, bits: int, seed: int, threads: int, recast: bool, val: str) -> Trial:
    bench, recipe = workbench(recast), recipe_of(subject)
    cell = _cell(recipe, bits, seed)
    lines: list[dict[str, Any]] = []
    _warm_up()
    before = process_state()
    with seeded(seed, threads):
        job = make_job(bench, recipe, cell, lambda **terms: lines.append(log_line(terms)))
        assert job.val is not None
        assert job.common is not None
        train, watched = WatchedRows(job.train), GradientRows(job.val)
        common = replace(job.common, rows=train, memo=Memo())  # no other trial computes anything for this one
        shown = {"given": job.val, "withheld": None, "watched": watched}[val]
        job = replace(job, train=train, val=shown, common=common)
        content = _content(job)
        with tripwire() as taken:
            towers = fit(recipe, job)
        altered = [name for name, value in _content(job).items() if value != content[name]]
        codes = encode_rows(bench, recipe, cell, towers)
    after = process_state()
    return Trial(
        towers,
        codes,
        state_bytes(towers),
        lines,
        learned=vars(train)["looked_at"],
        altered=altered,
        taken=taken,
        disturbed=[name for name, value in before.items() if after[name] != value],
        descended_on_val=vars(watched)["descended"],
    )


def encoded_again(subject: Subject) -> dict[str, Codes]:
    """Codes of the trial's towers, which encode a second time."""
    recipe = recipe_of(subject)
    with seeded(1, threads=1):
        return encode_rows(workbench(), recipe, _cell(recipe), trial(subject).towers)


def reloaded(subject: Subject) -> tuple[bytes, dict[str, Codes]]:
    """State and codes of the trainer's fresh towers that have loaded what the trial's towers had saved."""
    bench, recipe = workbench(), recipe_of(subject)
    cell = _cell(recipe)
    with seeded(1, threads=1):  # what chance leaves in the towers, beside their state, is something else
        job = make_job(bench, recipe, cell, lambda **terms: None)
        job = replace(job, train=_no_rows(job), val=None)  # as when a saved run is loaded
        towers = recipe.sections["trainer"].build().towers(job)
        towers.load_state_dict(safetensors.torch.load(trial(subject).state))
        return state_bytes(towers), encode_rows(bench, recipe, cell, towers)


def _no_rows(job: Job) -> Rows:
    sizes = {role: sum(numbers(width) for width in widths.values()) for role, widths in job.widths.items()}
    inputs = {role: np.empty((0, size), dtype=np.float32) for role, size in sizes.items()}
    labels = np.empty((0, len(job.classes)), dtype=np.bool_)
    return Rows(inputs.pop("image"), inputs.pop("text"), labels, job.device, extra=inputs)


def _cell(recipe: Recipe, bits: int = 16, seed: int = 0) -> Cell:
    return Cell(recipe.method.name, "trial", bits, seed)


def process_state() -> dict[str, object]:
    """What outlives a training in its process; `fitting.seeded` has put back generators, threads and determinism."""
    return import_probe.global_state() | {
        "torch's default type": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's precision of matrix products": torch.get_float32_matmul_precision(),
        "numpy's handling of errors": np.geterr(),
    }


@functools.cache
def _warm_up() -> None:
    """Take a step of descent: at the first in a process torch sets environment variables of its own."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()


def _content(job: Job) -> dict[str, str]:
    """Digests of what the job's rows hold, by what they are called; this look at them is none of the trainer's."""
    found = {}
    for split, rows in (("training", job.train), ("validation", job.val)):
        if rows is not None:
            extra = object.__getattribute__(rows, "_extra")
            held = {f"{role} features": values for role, values in extra.items()}
            for part, word in (("_image", "images"), ("_text", "texts"), ("labels", "labels")):
                held[word] = object.__getattribute__(rows, part)
            for word, values in held.items():
                found[f"the {word} of the {split} rows"] = digest(np.asarray(values).tobytes())
    return found
