"""The cells of a bench as tasks: names, settings and code lengths go out, and results come back."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.runners import Kind, Runner, Task, Tell, Watch, Workers
from hashzoo.runners.parts import Spread, Unshared, asked, make_array, make_part, missing_arrays, need_of
from hashzoo.storage.arrays import Wanted

if TYPE_CHECKING:
    from hashzoo.benches.plan import Plan
    from hashzoo.recipe import Cell


def train(
    runner: Runner,
    plans: Sequence[Plan],
    tasks: Mapping[int, tuple[int, Cell]],
    fresh: bool,
    spread: bool,
    tell: Tell,
) -> None:
    """Train cells, and return when there is a result of each.

    Args:
        runner: where.
        plans: of all tracks; what they ask for has been checked.
        tasks: for each number of a task that of its plan, and its cell; no two are the same run.
        fresh: train again what is finished.
        spread: whether all workers compute the features that are missing, and not one of them.
        tell: is called with a kind of `benchmark.Event`, the number of the task, and the content. Each task is told
            "done" once, with its result: a failed one where its cell failed, or where its worker was lost too often.
    """
    used = {number: [cell for of, cell in tasks.values() if of == number] for number, _ in tasks.values()}
    gpus = {number: runner.gpu(plans[number].device) for number in used}
    told = {"plans": [_words_of(plan) for plan in plans]} if runner.name != "local" else {}
    kind = Kind("hashzoo.runners.cells:Cells", told, lambda: Cells({}, plans), any(gpus.values()))

    def task_of(number: int, cell: Cell, **words: Any) -> Task:
        plan = plans[number]
        about = {"plan": number, "cell": asdict(cell)}
        kin = (f"{number} {cell.method} {cell.encoders}", f"{cell.seed}")
        return Task({**about, **words}, plan.recipe(cell).threads(plan.threads), gpus[number], kin)

    with runner.workers(kind) as workers:
        if runner.name != "local":
            for number, cells in used.items():
                widest = max(cells, key=lambda cell: plans[number].recipe(cell).threads(plans[number].threads))
                if spread:
                    _spread_features(
                        workers, task_of(number, widest, do="features"), number, need_of(runner, plans[number].device)
                    )
                asked(workers, task_of(number, widest, do="prepare"))
            about = {"runner": runner.name, "workers": runner.jobs, "cells": len(tasks)}
            tell("workers", next(iter(tasks)), about)
        train = {}
        for task, (number, cell) in tasks.items():
            request = {"request": plans[number].request(cell)} if runner.name == "ray" else {}
            train[task] = task_of(number, cell, do="train", fresh=fresh, **request)
        workers.do(train, tell)


def _spread_features(workers: Workers, asking: Task, number: int, need: Task) -> None:
    """Have all workers compute the features of a plan that are not in the cache."""
    for one in asked(workers, asking)["arrays"]:
        words = {"plan": number, "cell": one["cell"], "role": one["role"]}
        try:
            make_array(Wanted(**one["wanted"]), Spread(workers, words, need))
        except Unshared:
            return  # each node computes them for its own cache, when its first cell needs them


class Cells:
    """Does tasks of cells. It keeps the plan of the track that it was last asked for: cells come track by track.

    `plans` are those of this process; a worker process makes its own from `told`.
    """

    def __init__(self, told: Mapping[str, Any], plans: Sequence[Plan] | None = None):
        self._words: list[dict[str, Any]] = told.get("plans", [])
        self._given = plans
        self._number = -1
        self._plan: Plan | None = None
        self._extracting = False

    def do(self, one: dict[str, Any], watch: Watch) -> dict[str, Any] | None:
        if one["do"] == "fail" and ("part" in one or "asked" in one):
            return {"lost": one["reason"]}
        plan, cell = self.plan_of(one["plan"]), cell_of(one["cell"])
        if one["do"] == "features":
            found: dict[str, Any] = {}
            for one_cell, recipe in plan.recipes():
                for role, wanted in missing_arrays(plan.workbench, recipe, list(recipe.encoders)).items():
                    about = {"cell": asdict(one_cell), "role": role, "wanted": asdict(wanted)}
                    found.setdefault(wanted.key, about)
            return {"arrays": list(found.values())}
        if one["do"] == "part":
            self._extracting = True
            return make_part(plan.workbench, plan.recipe(cell), one["role"], one, watch)
        if self._extracting:  # encoders of which nothing is needed any more
            plan.close()
            self._extracting = False
        if one["do"] == "prepare":
            plan.prepare()
            return None
        if one["do"] == "fail":
            return plan.fail(cell, one["reason"])
        if "request" in one:
            check_same(plan, cell, one["request"])
        return plan.train(cell, one["fresh"], watch)

    def plan_of(self, number: int) -> Plan:
        """The plan of a number."""
        from hashzoo.benches.plan import plan_of
        from hashzoo.data.stream import Stream

        if self._plan is None or self._number != number:
            if self._given is not None:
                if self._plan is not None:
                    self._plan.close()
                self._plan = self._given[number]
            else:
                words = dict(self._words[number])
                words["cells"] = [cell_of(cell) for cell in words["cells"]]
                words["fold"] = tuple(words["fold"]) if words["fold"] else None
                words["stream"] = Stream(**words["stream"]) if words["stream"] else None
                self._plan = plan_of(**words, like=self._plan)
            self._number = number
        return self._plan


def cell_of(words: Mapping[str, Any]) -> Cell:
    """A cell from plain JSON."""
    from hashzoo.recipe import Cell
    from hashzoo.settings import Assignment

    return Cell(**{**words, "swept": tuple(Assignment(**one) for one in words["swept"])})


def check_same(plan: Plan, cell: Cell, request: str) -> None:
    """Raise where this machine would make a run that the one which asked could not find again."""
    if plan.mirror is None and not Path(plan.runs, plan.track.id, "track.json").exists():
        raise HashzooError(
            f"{socket.gethostname()} does not see the runs folder {plan.runs.resolve()} of the machine that asked; "
            f"give --runs a folder that all nodes share, or an address such as s3://bucket/prefix",
            exit_code=1,
        )
    if plan.request(cell) != request:
        raise HashzooError(
            f"{socket.gethostname()} has other packages, plugins or files than the machine that asked, which would not "
            f"find its runs again; install the same on both",
            exit_code=1,
        )


def _words_of(plan: Plan) -> dict[str, Any]:
    """The arguments of `plan_of` as plain JSON."""
    cells, stream = [asdict(cell) for cell in plan.words["cells"]], plan.words["stream"]
    return plan.words | {"cells": cells, "stream": asdict(stream) if stream else None}
