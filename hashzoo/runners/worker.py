"""What a worker does, whichever runner started it: JSON in, JSON out.

Nothing but names, settings and results travels. A worker opens the data set and the cached features itself, and
writes the run folder itself.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.processors import PROCESSORS, available_threads

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell

# These decide which plugins there are, and where the cache is.
VARIABLES = ("HASHZOO_CACHE", "XDG_CACHE_HOME", "HASHZOO_ONLY", "HASHZOO_BLOCK", "HASHZOO_STRICT", "HASHZOO_FEATURES")
BETWEEN_LINES = 0.25  # seconds: a quick epoch is over before anybody has read of it


def orders_for(plans: Sequence[Plan], environment: dict[str, str]) -> str:
    """What every worker of a bench is told first, as JSON: its plans, where it was typed, and in which environment."""
    # What cannot be used was told by this process, and may have taken long: no worker tries it again.
    usable = {plugin.name for plugin in plans[0].zoo.plugins if plugin.state == "ok"}
    unusable = [plugin.name for plugin in plans[0].zoo.unusable() if plugin.name not in usable]
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    blocked = {"HASHZOO_BLOCK": ",".join([os.environ.get("HASHZOO_BLOCK", ""), *unusable])}
    # Runs that take all processors have the same key wherever they are trained.
    processors = {PROCESSORS: str(available_threads())}
    told = {
        "plans": [_words_of(plan) for plan in plans],
        "folder": os.getcwd(),
        "environment": variables | blocked | processors | environment,
    }
    return json.dumps(told)


def order(do: str, number: int, cell: Cell | None = None, **content: Any) -> str:
    """One thing to do, as JSON: "prepare", "train" or "fail", of the plan of a number."""
    return json.dumps({"do": do, "plan": number, "cell": asdict(cell) if cell else None, **content})


def obey(orders: str, one: str, watch: Callable[[dict[str, Any]], None]) -> str:
    """Do what `order` says, and answer as JSON.

    Returns:
        ["done", result], ["refused", {"message", "exit_code"}] for a HashzooError, or ["broken", traceback].
    """
    try:
        return json.dumps(["done", _worker(orders).do(json.loads(one), watch)])
    except HashzooError as error:
        return json.dumps(["refused", {"message": str(error), "exit_code": error.exit_code}])
    except Exception:
        return json.dumps(["broken", traceback.format_exc()])


def result_of(answer: str, where: str = "") -> dict[str, Any]:
    """The result in what `obey` answered; an error is raised here as it was there."""
    kind, content = json.loads(answer)
    if kind == "refused":
        raise HashzooError(f"{where}{content['message']}", exit_code=content["exit_code"])
    if kind == "broken":
        raise RuntimeError(f"{where}a worker failed:\n{content}")
    return dict(content or {})


class Worker:
    """Keeps the plan of the track that it was last asked for: cells come track by track."""

    def __init__(self, orders: str):
        told = json.loads(orders)
        try:
            os.chdir(told["folder"])
        except OSError as error:
            raise HashzooError(
                f"{socket.gethostname()} has no folder {told['folder']}; type the command in a folder that all nodes "
                f"share",
                exit_code=1,
            ) from error
        os.environ.update(told["environment"])
        self._plans: list[dict[str, Any]] = told["plans"]
        self._number = -1
        self._plan: Plan | None = None

    def do(self, one: dict[str, Any], watch: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        plan = self._plan_of(one["plan"])
        if one["do"] == "prepare":
            plan.prepare()
            return None
        cell = _cell_of(one["cell"])
        if one["do"] == "fail":
            return plan.fail(cell, one["reason"])
        if "request" in one:
            _check_same(plan, cell, one["request"])
        return plan.train(cell, one["fresh"], _now_and_then(watch))

    def _plan_of(self, number: int) -> Plan:
        from hashzoo.data.stream import Stream
        from hashzoo.plan import plan_of

        if self._plan is None or self._number != number:
            words = dict(self._plans[number])
            words["cells"] = [_cell_of(cell) for cell in words["cells"]]
            words["fold"] = tuple(words["fold"]) if words["fold"] else None
            words["stream"] = Stream(**words["stream"]) if words["stream"] else None
            self._plan = plan_of(**words, like=self._plan)
            self._number = number
        return self._plan


@functools.lru_cache(maxsize=1)
def _worker(orders: str) -> Worker:
    return Worker(orders)


def _words_of(plan: Plan) -> dict[str, Any]:
    """The arguments of `plan_of` as plain JSON."""
    cells, stream = [asdict(cell) for cell in plan.words["cells"]], plan.words["stream"]
    return plan.words | {"cells": cells, "stream": asdict(stream) if stream else None}


def _cell_of(words: dict[str, Any]) -> Cell:
    from hashzoo.recipe import Cell
    from hashzoo.settings import Assignment

    return Cell(**words | {"swept": tuple(Assignment(**one) for one in words["swept"])})


def _check_same(plan: Plan, cell: Cell, request: str) -> None:
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


def _now_and_then(watch: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Tell the first line, and then at most one in `BETWEEN_LINES` seconds."""
    told = float("-inf")

    def tell(line: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= BETWEEN_LINES:
            told = time.monotonic()
            watch(line)

    return tell
