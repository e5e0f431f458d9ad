"""Many cells: methods x encoders x code lengths x seeds, resumed, in order, one failure at a time.

Nothing here imports torch before a cell has to be trained: a bench whose runs are all finished
answers from the runs folder.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo import parallel, zoo
from hashzoo.codes import pack
from hashzoo.data import Dataset
from hashzoo.data.stream import Stream
from hashzoo.data.training import TrainData
from hashzoo.errors import HashzooError, one_line
from hashzoo.recipe import GIVEN, ROLES, Cell, Recipe, available_threads, build, check_used, pair_of, parse_encoders
from hashzoo.rounds import score_run
from hashzoo.settings import Assignment, keywords, parse_assignments, plain, resolve
from hashzoo.storage import digest, write_arrays, write_json
from hashzoo.track import Track, evaluator_digest, read_result

if TYPE_CHECKING:
    import torch

    from hashzoo.run import Workbench

FLOOR_METHOD = "random"
MAX_BITS = 4096
MAX_THREADS = 1024
MAX_BATCH = 65_536


@dataclass(frozen=True)
class Event:
    """How far a bench is. `kind` is "start", "epoch" (content: a line of train.jsonl) or "done" (the result)."""

    kind: str
    number: int
    total: int
    cell: Cell
    content: dict[str, Any]


def bench(
    methods: Sequence[str],
    bits: Sequence[int] = (16, 32, 64, 128),
    *,
    dataset: str | Dataset = "emoji",
    encoders: str = "lite",
    seeds: Sequence[int] = (0,),
    settings: Iterable[str] = (),
    runs: str | os.PathLike[str] = "runs",
    device: str = "auto",
    threads: int | None = None,
    jobs: int | None = 1,
    fresh: bool = False,
    allow_overlap: bool = False,
    batch_size: int | None = None,
    stream: Stream | None = None,
    watch: Callable[[Event], None] = lambda event: None,
) -> dict[str, Any]:
    """Train and compare methods on one data set. Finished runs are reused; the random floor is always added.

    Args:
        methods: names of methods.
        bits: code lengths.
        dataset: name of a data set, with its variant ("emoji/full") or what follows its colon
            ("table:photos.parquet"), or a Dataset. Worker processes open data sets by name, so that cells
            on one that is given as an object are trained in this process, one after another.
        encoders: "lite", "paper", or pairs such as "lite0+bow", comma-separated.
        seeds: every cell is trained once with each.
        settings: such as "trainer.lr=1e-3" or "soda.trainer.alpha=0.3"; a later one wins.
        runs: the folder that keeps runs.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of the CPU for each run; when None one, or all for a run that trains an encoder along.
        jobs: cells that are trained side by side, each in a process of its own; None is what suits the machine.
        fresh: train again what is finished.
        allow_overlap: score although query rows stand in other splits too; every table says so.
        batch_size: rows that an encoder takes at once where features are computed; None is what suits the device.
        stream: the database arrives in chunks, and methods are measured after each; None: it is there from the start.
        watch: is told how far the bench is.

    Returns:
        {"schema": 1, "track": {...}, "results": [...]}; docs/results.md describes each field.

    Raises:
        HashzooError: something asked for does not exist, weights are missing, or nothing can be written.
    """
    known = zoo.load()
    methods, bits, seeds = _distinct("method", methods), _distinct("code length", bits), _distinct("seed", seeds)
    for number in bits:
        if not _whole(number, 1, MAX_BITS):
            raise HashzooError(f"a code length is a whole number from 1 to {MAX_BITS}, not {number!r}")
    for seed in seeds:
        if not _whole(seed, 0, 2**32 - 1):
            raise HashzooError(f"a seed is a whole number from 0 to {2**32 - 1}, not {seed!r}")
    for name, count in (("threads", threads), ("jobs", jobs)):
        if count is not None and not _whole(count, 1, MAX_THREADS):
            raise HashzooError(f"{name} are a whole number from 1 to {MAX_THREADS}, not {count!r}")
    check_batch_size(batch_size)
    for method in methods:
        known.find("method", method)
    methods = [*methods, *([] if FLOOR_METHOD in methods else [FLOOR_METHOD])]
    check_device(device)
    if isinstance(dataset, Dataset) and jobs not in (None, 1):
        raise HashzooError(
            f"worker processes cannot be given the data set '{dataset.name}' as an object; "
            f"leave jobs out, or name a data set"
        )
    specs = parse_encoders(encoders, known)
    cells = [Cell(method, spec, n, seed) for spec in specs for method in methods for n in bits for seed in seeds]
    plan = plan_of(
        cells,
        dataset,
        list(settings),
        os.fspath(runs),
        device,
        threads,
        batch_size=batch_size,
        allow_overlap=allow_overlap,
        stream=stream,
    )
    track = plan.track
    results: dict[Cell, dict[str, Any]] = {}

    def tell(kind: str, cell: Cell, content: dict[str, Any]) -> None:
        watch(Event(kind, cells.index(cell) + 1, len(cells), cell, content))

    def done(cell: Cell, result: dict[str, Any]) -> None:
        results[cell] = result
        tell("done", cell, result)

    waiting = []
    for cell in cells:
        finished = None if fresh else plan.finished(cell)
        if finished is None:
            waiting.append(cell)
        else:
            done(cell, finished)
    jobs = jobs or (1 if isinstance(dataset, Dataset) else plan.usual_jobs(len(waiting)))
    if len(waiting) > 1 and jobs > 1:
        plan.prepare()
        tell("start", waiting[0], {"jobs": jobs, "cells": len(waiting)})
        parallel.train(plan, waiting, fresh, jobs, done)
    else:
        for cell in waiting:
            tell("start", cell, {})
            done(cell, plan.train(cell, fresh, functools.partial(tell, "epoch", cell)))
    in_order = [results[cell] for cell in cells]
    return {"schema": 1, "track": {"id": track.id, **track.describe()}, "results": in_order}


def plan_of(
    cells: list[Cell],
    dataset: str | Dataset,
    settings: list[str],
    runs: str,
    device: str,
    threads: int | None,
    batch_size: int | None = None,
    allow_overlap: bool = False,
    stream: Stream | None = None,
) -> Plan:
    """The plan of a bench; from plain words, so that a worker process can make it again, or for a Dataset."""
    words: dict[str, Any] = {"cells": cells, "dataset": dataset, "settings": settings, "runs": runs}
    words |= {"device": device, "threads": threads, "batch_size": batch_size, "allow_overlap": allow_overlap}
    words |= {"stream": stream}
    assignments = parse_assignments(settings, {cell.method: None for cell in cells})
    if isinstance(dataset, Dataset):
        typed = next((assignment for assignment in assignments if assignment.section == "dataset"), None)
        if typed is not None:
            raise HashzooError(f"{typed.path} is for a data set that is named; '{dataset.name}' is made already")
        data = dataset
    else:
        data = open_dataset(dataset, assignments)
    arrival = None
    if stream is not None:
        data.check(allow_overlap)
        data, arrival = stream.arrange(data)
    track = Track.of(data, train_data(assignments), allow_overlap, arrival)
    return Plan(zoo.load(), data, track, Path(runs), cells, assignments, device, threads, batch_size, words)


@dataclass
class Plan:
    """The cells of one bench: finds those that are finished, trains the others."""

    zoo: zoo.Zoo
    dataset: Dataset
    track: Track
    runs: Path
    cells: list[Cell]
    assignments: list[Assignment]
    device: str
    threads: int | None
    batch_size: int | None
    words: dict[str, Any]

    def finished(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a run that was asked for in the same words, in an unchanged environment."""
        request = self.request(cell)
        for path in (self.runs / self.track.id / cell.method).glob(f"*-{cell.bits}-s{cell.seed}-*/result.json"):
            result = self._reuse(path.parent)
            if result is not None and result["request"] == request:
                self.track.save(self.runs / self.track.id)
                return result
        return None

    def train(self, cell: Cell, fresh: bool, watch: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Train a cell, unless a run of the same content is there under other words."""
        from hashzoo import run

        recipe = self._recipes[cell.method, cell.encoders]
        description = run.describe(self._workbench, recipe, cell)
        key = run.key_of(description)
        folder = run.folder_of(self.runs, self.track, cell, dict(recipe.encoders), key)
        reused = None if fresh else self._reuse(folder)
        if reused is not None and reused["key"] == key:
            return reused | {"settings": run.typed_settings(description)}
        result = run.train_cell(self._workbench, recipe, cell, folder, description, self.request(cell), watch)
        return result | {"reused": False, "run": str(folder)}

    def prepare(self) -> None:
        """Do once, before workers start, what each of them would do: features and compiled kernels into the caches."""
        workbench = self._workbench
        for recipe in self._recipes.values():
            for role in ROLES:
                with contextlib.suppress(Exception):  # what fails here fails again in its cell, and is told there
                    workbench.encoded(recipe, role)
        blank = {
            f"{role}_{split}": pack(np.zeros((self.track.counts[split], 1)))
            for role in ROLES
            for split in ("query", "database")
        }
        self.track.score(blank)  # compiles the kernels, where they are not in numba's cache yet

    def usual_jobs(self, waiting: int) -> int:
        """As many processes as there are processors, where each run takes one thread and there are cells enough."""
        if waiting < 4 or self._workbench.device.type != "cpu":
            return 1
        threads = max(recipe.threads(self.threads) for recipe in self._recipes.values())
        return max(1, min(available_threads() // threads, waiting // 2))

    def request(self, cell: Cell) -> str:
        """Digest of what was typed for a cell, and of every source and package that gives it a meaning."""
        typed = [
            [assignment.section, assignment.key, assignment.text, _file_identity(assignment.text)]
            for assignment in self.assignments
            if assignment.method in (None, cell.method)
        ]
        return digest(
            [
                *(self.track.describe(), asdict(cell), typed, self.device, self.threads),
                *(_sources(self.zoo), _environment()),
                *(_file_identity(name.partition(":")[2]) for name in cell.encoders.split("+")),
            ]
        )

    @functools.cached_property
    def _recipes(self) -> dict[tuple[str, str], Recipe]:
        """Every method with every entry of --encoders, checked before anything is trained."""
        recipes = {}
        for cell in self.cells:
            if (cell.method, cell.encoders) not in recipes:
                method = self.zoo.find("method", cell.method)[1]
                encoders = pair_of(cell.encoders, method, self.zoo, self.dataset.raw)
                recipe = build(self.zoo, cell.method, encoders, self.assignments)
                for section in ("loss", "trainer"):
                    if section in recipe.sections:
                        recipe.sections[section].build()  # a value that it refuses is told before any work
                recipes[cell.method, cell.encoders] = recipe
        check_used(self.assignments, recipes.values())
        return recipes

    @functools.cached_property
    def _workbench(self) -> Workbench:
        """What all cells share; every encoder is built now, so that all missing weights are told at once.

        The first thing is written here, when nothing asked for can be refused any more.
        """
        from hashzoo.encoders.base import MissingWeights
        from hashzoo.run import Workbench

        workbench = Workbench(self.dataset, self.track, find_device(self.device), self.threads, self.batch_size)
        missing: dict[str, MissingWeights] = {}
        for recipe in self._recipes.values():
            for role in ROLES:
                try:
                    workbench.encoder(recipe, role)
                except MissingWeights as error:
                    missing[error.encoder] = error
        if missing:
            raise MissingWeights.joined(list(missing.values()))
        self.track.save(self.runs / self.track.id)
        return workbench

    def _reuse(self, folder: Path) -> dict[str, Any] | None:
        """The result in a folder, scored again if the evaluator has changed; None when the run is not complete."""
        path = folder / "result.json"
        if not path.exists():
            return None
        try:
            result = read_result(path)
            if result["evaluator"] != evaluator_digest():
                scores, per_query = score_run(self.track, folder)
                result |= scores
                write_arrays(folder / "per_query.npz", per_query)
                write_json(path, result)
            return result | {"reused": True, "run": str(folder)}
        except HashzooError:
            return None  # a damaged result is no result: the cell is trained again


def check_batch_size(batch_size: int | None) -> None:
    """Raise unless it is a number of rows, or None."""
    if batch_size is not None and not _whole(batch_size, 1, MAX_BATCH):
        raise HashzooError(f"the batch size is auto or a whole number from 1 to {MAX_BATCH}, not {batch_size!r}")


def check_device(device: str) -> None:
    """Raise unless a device is written as users write it."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise HashzooError(f"the device is auto, cpu, cuda or cuda:N, not '{device}'")


def find_device(device: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" means on this machine."""
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise HashzooError(f"device {name} was asked for, but torch sees no GPU; leave --device out, or type cpu")
    return torch.device(name)


def open_dataset(name: str, assignments: Iterable[Assignment] = ()) -> Dataset:
    """A data set by the name that users type, with its `dataset.*` settings; prepared if need be.

    What follows a slash is its variant ("emoji/full"), what follows a colon its argument ("table:photos.csv").
    """
    target, settings = dataset_class(name, assignments)
    try:
        dataset = target(**settings)
        lacking = [
            attribute for attribute in ("name", "classes", "labels", "splits") if not hasattr(dataset, attribute)
        ]
        if lacking:
            raise HashzooError(
                f"data set '{name}' does not set {' and '.join(lacking)}; see docs/plugin.md", exit_code=1
            )
        return dataset
    except HashzooError:
        raise
    except ValueError as error:
        raise HashzooError(f"data set '{name}' refuses its settings: {error}") from error
    except Exception as error:
        raise HashzooError(f"data set '{name}' cannot be opened: {one_line(error)}", exit_code=1) from error


def train_data(assignments: Iterable[Assignment]) -> TrainData:
    """What `train_data.*` settings ask for."""
    try:
        return TrainData(**plain(resolve("train_data", TrainData, {}, assignments)))
    except ValueError as error:
        raise HashzooError(str(error)) from error


def dataset_class(name: str, assignments: Iterable[Assignment] = ()) -> tuple[type[Dataset], dict[str, Any]]:
    """The class behind the name of a data set, and its constructor keywords."""
    typed, colon, argument = name.partition(":")
    base, _, variant = typed.partition("/")
    plugin, part = zoo.load().find("dataset", base)
    target = zoo.resolve_target(plugin, part.target)
    chosen = plain(resolve("dataset", target, {}, assignments, GIVEN["dataset"]))
    if variant:
        if "variant" not in keywords(target):
            raise HashzooError(f"data set '{base}' has no variants; type {base}")
        chosen["variant"] = variant
    takes = "argument" in inspect.signature(target).parameters
    if colon and not takes:
        raise HashzooError(f"data set '{base}' takes nothing after a colon; type {typed}")
    if takes and not argument:
        raise HashzooError(f"data set '{base}' needs to know what to read; type {base}:PATH")
    if takes:
        chosen["argument"] = argument
    return target, chosen


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _distinct(what: str, values: Sequence[Any]) -> list[Any]:
    values = list(values)
    if not values:
        raise HashzooError(f"no {what} was given; name at least one")
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated is not None:
        raise HashzooError(f"{what} {repeated} is given twice; name each once")
    return values


@functools.cache
def _sources(known: zoo.Zoo) -> dict[str, str]:
    own = {"hashzoo": zoo.source_digest("hashzoo", "*.py", "encoders/*.py", "data/*.py")}
    return own | {p.name: p.source_digest() for p in known.plugins if p.state == "ok" and p.name != "hashzoo"}


@functools.cache
def _environment() -> str:
    """Digest of every installed distribution with its version."""
    about = [
        distribution.metadata for distribution in metadata.distributions()
    ]  # read once: name and version are there
    return digest(sorted({f"{fields['Name']}=={fields['Version']}" for fields in about}))


def _file_identity(text: str) -> list[Any] | None:
    """Size and time of a file that a setting names, such as a path to weights; of a folder, of the files in it."""
    path = os.path.expanduser(text)
    try:
        if not text or not os.path.isdir(path):
            status = os.stat(path)
            return [status.st_size, status.st_mtime_ns]
        with os.scandir(path) as entries:
            return sorted([e.name, e.stat().st_size, e.stat().st_mtime_ns] for e in entries if e.is_file())
    except (OSError, ValueError):
        return None
