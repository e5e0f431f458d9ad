"""Trial runs of a method: on drawn scenes, with encoders that need no weights, through the core's own code."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from hashzoo.codes import Codes
from hashzoo.data.scenes import Scenes
from hashzoo.model import Towers
from hashzoo.plugin import Method, Part
from hashzoo.recipe import Cell, Recipe, build
from hashzoo.run import Workbench, encode_rows, fit, seeded, state_bytes
from hashzoo.settings import Assignment
from hashzoo.testing.kit import Subject
from hashzoo.track import Track
from hashzoo.zoo import Plugin, Zoo

ENCODERS = {"image": "lite0", "text": "bow"}
SETTINGS = (("image", "weights", "random"), ("image", "pixels", "32"), ("text", "size", "256"))


@dataclass(frozen=True)
class Trial:
    """What one training gave: the towers, the codes of query and database rows, the state's bytes, the log."""

    towers: Towers
    codes: dict[str, Codes]
    state: bytes
    lines: list[dict[str, Any]]


@functools.cache
def workbench() -> Workbench:
    """The scenes that all trials share, with their encoded modalities."""
    dataset = Scenes(pairs=500, pixels=32, difficulty=0.3, val=0.1)
    return Workbench(dataset, Track.of(dataset), torch.device("cpu"), threads=None)


def recipe_of(subject: Subject) -> Recipe:
    """The recipe of a method; a trainer that no method uses becomes one with linear heads and the pairwise loss."""
    zoo, name = subject.zoo, subject.name
    if isinstance(subject.offer, Part):
        made = Method(f"{name}-alone", "lite0", "bow", "pairwise", trainer=name, summary=subject.offer.summary)
        zoo = Zoo((*zoo.plugins, Plugin("trial", "trial", "0", "ok", offers={"method": (made,)})))
        name = made.name
    assignments = [Assignment(None, section, key, value) for section, key, value in SETTINGS]
    return build(zoo, name, ENCODERS, assignments)


@functools.lru_cache(maxsize=16)
def trial(subject: Subject, bits: int = 16, seed: int = 0, threads: int = 1, again: int = 0) -> Trial:
    """Train once and encode. Remembered, so that checks share what they can: `again` asks for another, equal one."""
    recipe, cell, lines = recipe_of(subject), Cell(subject.name, "trial", bits, seed), []
    with seeded(seed, threads):
        towers = fit(workbench(), recipe, cell, lambda **line: lines.append(line))
        codes = encode_rows(workbench(), recipe, cell, towers)
    return Trial(towers, codes, state_bytes(towers), lines)
