"""Arrays of the cache in parts: what workers write, and how it is put together.

Which arrays are wanted, a worker says: it has the weights, which the machine where the command was typed may lack.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError, one_line
from hashzoo.processors import available_threads
from hashzoo.progress import progress
from hashzoo.runners import TRIES, Runner, Task, Tell, Watch, Workers
from hashzoo.storage.arrays import Wanted

if TYPE_CHECKING:
    from hashzoo.benches.shard import Shard
    from hashzoo.benches.workbench import Workbench
    from hashzoo.recipe import Recipe


GPU_THREADS = 4  # CPUs of a task of Ray that has a GPU, to read and prepare for it


class Unshared(HashzooError):
    """A part was written where this machine does not see it."""


@dataclass(frozen=True)
class Spread:
    """Has workers make what is missing of an array: `arrays.Spread`.

    Attributes:
        workers: of a kind whose doer answers {"do": "part"} by `make_part`.
        words: what tells that doer which array it is.
        need: a task like all: its threads, and whether it takes a GPU.
    """

    workers: Workers
    words: Mapping[str, Any]
    need: Task

    def __call__(
        self,
        wanted: Wanted,
        missing: Sequence[range],
        take: Callable[[range], None],
        advance: Callable[[int], None],
    ) -> None:
        from hashzoo.features.extraction import Unreadable

        parts: dict[range, list[list[int]]] = {}
        for part in wanted.parts():
            inside = [[rows.start, rows.stop] for rows in missing if rows.start in part]
            if inside:
                parts[part] = inside
        unreadable = Unreadable()

        def done(part: range, result: dict[str, Any]) -> None:
            if result["written"] and not wanted.part_path(part).exists():
                raise Unshared(
                    f"{result['node']} wrote features to {result['written']}, which this machine does not see; set "
                    f"HASHZOO_CACHE to a folder that all nodes share",
                    exit_code=1,
                )
            take(part)
            if unreadable.add(result["faults"]):
                unreadable.check()

        do_parts(self, wanted, parts, done, advance)
        unreadable.check()


def do_parts(
    spread: Spread,
    wanted: Wanted,
    parts: Mapping[range, list[list[int]]],
    done: Callable[[range, dict[str, Any]], None],
    advance: Callable[[int], None],
) -> None:
    """Have workers write parts of an array, given with their ranges of rows; `done` is told of each."""
    numbered = list(parts)
    tasks = {
        number: Task(
            {
                **{"do": "part", **spread.words, "key": wanted.key, "part": [part.start, part.stop]},
                **{"rows": parts[part], "threads": spread.need.threads, "called": f"{wanted.unit} {_span(part)}"},
            },
            spread.need.threads,
            spread.need.gpu,
        )
        for number, part in enumerate(numbered)
    }
    sizes = {number: sum(stop - start for start, stop in parts[part]) for number, part in enumerate(numbered)}
    count = Count(sizes, advance, lambda number: f"{wanted.unit} {_span(numbered[number])}")

    def told(number: int, answer: dict[str, Any]) -> None:
        done(numbered[number], answer)

    for number, reason in given_up(spread.workers, tasks, count, told, held=True).items():
        fault = _which_row(spread.workers, wanted, tasks[number], reason)
        done(numbered[number], {"faults": [fault], "written": "", "node": ""})


def _which_row(workers: Workers, wanted: Wanted, task: Task, reason: str) -> str:
    """Why a part was given up: the first row that ends its worker alone, too. No row of this search is kept."""
    called = task.words["called"]
    print(f"hashzoo: {called}: row after row now, to find the one that ends its worker", file=sys.stderr, flush=True)
    for row in (row for rows in task.words["rows"] for row in range(*rows)):
        alone = {"part": [row, row + 1], "rows": [[row, row + 1]]}
        answer = answered(workers, replace(task, words={**task.words, **alone}))
        wanted.part_path(range(row, row + 1)).unlink(missing_ok=True)
        if "lost" in answer:
            return f"row {row} of {wanted.description}: {answer['lost']}"
    return f"{called}: {reason}, though no row does it alone (with a smaller --batch-size they take less memory)"


@dataclass
class Count:
    """Keeps one display for all workers: told of tasks as `Workers.do` tells, it advances by the rows that are done.

    Attributes:
        sizes: rows of each task.
        advance: of `progress`.
        called: a task in words.
    """

    sizes: Mapping[int, int]
    advance: Callable[[int], None]
    called: Callable[[int], str]

    def __post_init__(self) -> None:
        self._told = dict.fromkeys(self.sizes, 0)

    def __call__(self, kind: str, number: int, content: Mapping[str, Any]) -> None:
        rows = {"epoch": content.get("rows", 0), "done": self.sizes[number]}.get(kind, 0)
        if kind == "lost":
            again = "done again" if content["times"] < TRIES else "given up"
            print(
                f"hashzoo: {self.called(number)}: the worker was lost ({content['reason']}); {again}",
                file=sys.stderr,
                flush=True,
            )
        if kind != "start":
            self.advance(rows - self._told[number])
            self._told[number] = rows


def need_of(runner: Runner, device: str) -> Task:
    """What a task of parts takes."""
    gpu = runner.gpu(device)
    if runner.name == "ray":
        return Task({}, GPU_THREADS if gpu else 1, gpu)
    return Task({}, max(1, available_threads() // (runner.jobs or 1)))


def missing_arrays(workbench: Workbench, recipe: Recipe, roles: Sequence[str]) -> dict[str, Wanted]:
    """The arrays of some roles that are not in the cache, by role."""
    found = {role: workbench.wanted(recipe, role) for role in roles}
    return {role: pair[0] for role, pair in found.items() if pair is not None and pair[0].stored() is None}


def make_part(workbench: Workbench, recipe: Recipe, role: str, one: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """A doer's answer to {"do": "part"}: rows of an array that it has written, and those that cannot be read."""
    found = workbench.wanted(recipe, role, one["threads"])
    if found is None or found[0].key != one["key"]:
        raise HashzooError(
            f"{socket.gethostname()} has other packages, plugins or files than the machine that asked, and would make "
            f"other features; install the same on both",
            exit_code=1,
        )
    wanted, make = found
    faults: list[str] = []
    made: list[Any] = []
    try:
        made += _counted(make([range(*rows) for rows in one["rows"]], faults), watch)
    except HashzooError:
        raise
    except Exception as error:  # of the encoder: no other part may have it
        faults.append(f"{one['called']}: {one_line(error)}")
    part = range(*one["part"])
    wanted.write_part(part, made)
    written = str(wanted.part_path(part)) if made else ""
    return {"faults": faults, "written": written, "node": socket.gethostname()}


def given_up(
    workers: Workers,
    tasks: Mapping[int, Task],
    count: Tell,
    done: Callable[[int, dict[str, Any]], None],
    held: bool = False,
) -> dict[int, str]:
    """Do all tasks; `done` is told of each that has an answer. The others, whose workers were lost, and why."""
    lost: dict[int, str] = {}

    def tell(kind: str, number: int, content: dict[str, Any]) -> None:
        count(kind, number, content)
        if kind == "done" and "lost" in content:
            lost[number] = content["lost"]
        elif kind == "done":
            done(number, content)

    workers.do(tasks, tell, held)
    return lost


def answered(workers: Workers, task: Task) -> dict[str, Any]:
    """What a worker answers to one task; {"lost": reason} where it was lost too often."""
    answer: dict[str, Any] = {}

    def tell(kind: str, number: int, content: dict[str, Any]) -> None:
        answer.update(content if kind == "done" else {})

    workers.do({0: task}, tell)
    return answer


def asked(workers: Workers, task: Task) -> dict[str, Any]:
    """What one worker answers, before all get work."""
    answer = answered(workers, replace(task, words={**task.words, "asked": True}))
    if "lost" in answer:
        raise HashzooError(f"nothing could be prepared: {answer['lost']}; run the same command again", exit_code=1)
    return answer


def make_array(wanted: Wanted, spread: Spread) -> None:
    """Have workers make an array that is not in the cache."""

    def nothing(ranges: Sequence[range]) -> Any:
        raise AssertionError("workers make it")

    wanted.array(nothing, spread)


def make_share(wanted: Wanted, share: Shard, spread: Spread) -> int:
    """Have workers write those parts of an array that are in a share, unless they are written; the rows of the share.

    Which parts are in a share depends on the number of rows and the size of batches alone.
    """
    from hashzoo.features.extraction import Unreadable

    own = wanted.parts()[share.number - 1 :: share.of]
    missing = {part: _blocks(part, wanted.block) for part in own if not wanted.part_path(part).exists()}
    rows, unreadable = sum(map(len, own)), Unreadable()

    def done(part: range, result: dict[str, Any]) -> None:
        if unreadable.add(result["faults"]):
            unreadable.check()

    what = f"share {share.number} of {share.of} of {wanted.description}"
    with progress(what, rows, wanted.unit) as advance:
        advance(rows - sum(map(len, missing)))
        do_parts(spread, wanted, missing, done, advance)
    unreadable.check()
    if wanted.stored() is not None:  # somebody did not wait for this share
        wanted.remove_parts()
    return rows


def _counted(made: Iterator[Any], watch: Watch) -> Iterator[Any]:
    count = 0
    for rows, values in made:
        count += len(rows)
        watch({"rows": count})
        yield rows, values


def _blocks(part: range, block: int) -> list[list[int]]:
    return [[start, min(start + block, part.stop)] for start in range(part.start, part.stop, block)]


def _span(part: range) -> str:
    return f"{part.start:,} to {part.stop - 1:,}"
