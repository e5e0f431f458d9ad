"""Shares of a bench, for the array jobs of a scheduler: `--shard 2/8`. Imports no torch by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from hashzoo.benches.plan import Plan
    from hashzoo.recipe import Cell


@dataclass(frozen=True)
class Shard:
    """The share `number`, from 1, of `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """ "2/8"; anything else is an error."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None:
            raise HashzooError(f"a share is written as 2/8, the second of eight, not '{text}'")
        number, of = map(int, match.groups())
        if not 1 <= number <= of:
            raise HashzooError(
                f"shares of {of} are 1/{of} to {of}/{of}, not '{text}'; an array that starts at 0 adds 1"
            )
        return cls(number, of)

    def of_tasks(self, plans: Sequence[Plan], tasks: Sequence[tuple[int, Cell]]) -> list[int]:
        """The numbers of those tasks, plan and cell each, that are in this share, in their order.

        It depends on nothing but what was typed: not on which runs are finished, nor on the machine. Shares of a bench
        differ by one run at most; which cells are in which is as good as drawn, so that none gets all the long codes.
        Cells that are the same run in other words are in one share.
        """
        alike: dict[str, list[int]] = {}
        for task, (number, cell) in enumerate(tasks):
            alike.setdefault(plans[number].content(cell), []).append(task)
        drawn = sorted(alike.values(), key=lambda group: _words(tasks[group[0]]))
        return sorted(task for group in drawn[self.number - 1 :: self.of] for task in group)

    def marked(self, found: dict[str, Any], cells: int, of_cells: int) -> dict[str, Any]:
        """What a bench gives back, where every track says that it is a share, with so many of so many cells."""
        about = {"number": self.number, "of": self.of, "cells": cells, "of_cells": of_cells}
        for item in found.get("tracks", [found]):
            item["track"]["shard"] = about
        return found


def _words(task: tuple[int, Cell]) -> str:
    number, cell = task
    swept = [[setting.path, setting.text] for setting in cell.swept]
    return digest([number, cell.method, cell.encoders, cell.bits, cell.seed, swept])
