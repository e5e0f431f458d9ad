"""Many cells: methods x encoders x code lengths x seeds x swept settings, resumed, in order, one failure at a time.

Nothing here imports torch before a cell has to be trained: a bench whose runs are all finished
answers from the runs folder.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hashzoo import runners, zoo
from hashzoo.benches.mirror import check_fresh
from hashzoo.benches.plan import Plan, check_device, plan_of
from hashzoo.benches.shard import Shard
from hashzoo.benches.sweep import axes_of, cells_of, combinations, setting_names
from hashzoo.data import Dataset
from hashzoo.data.folds import MAX_FOLDS
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.opening import train_data
from hashzoo.recipe import Cell, parse_encoders
from hashzoo.runners import cells
from hashzoo.settings import SHARED, Assignment, parse_assignments, text_of

FLOOR_METHOD = "random"
MAX_BITS = 4096
MAX_THREADS = 1024
MAX_BATCH = 65_536
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Event:
    """How far a bench is.

    `kind` is "workers" (content: the runner, how many workers it has, how many cells they get), and of a cell "start",
    "epoch" (a line of train.jsonl), "lost" (the reason why its worker is gone, and how often one was) or "done" (the
    result). Cells that are trained side by side are told of in any order; not every epoch is, then.

    `track` says which of several tracks it is about: "train_data.label_noise=0.1 fold 2".
    """

    kind: str
    number: int
    total: int
    cell: Cell
    content: dict[str, Any]
    track: str = ""


@dataclass(frozen=True)
class Request:
    """What one bench is asked for; `bench` says what each means."""

    methods: Sequence[str]
    bits: Sequence[int] = (16, 32, 64, 128)
    dataset: str | Dataset = "emoji"
    encoders: str = "lite"
    seeds: Sequence[int] = (0,)
    settings: Sequence[str] = ()
    sweep: Mapping[str, Sequence[str]] | None = None
    folds: int | None = None
    fold_seed: int = 0
    runs: str | os.PathLike[str] = "runs"
    device: str = "auto"
    threads: int | None = None
    allow_overlap: bool = False
    batch_size: int | None = None
    stream: Stream | None = None

    def check(self) -> None:
        """Raise for what cannot be asked for of any data set and method."""
        for what, values in (("method", self.methods), ("code length", self.bits), ("seed", self.seeds)):
            _check_distinct(what, values)
        for number in self.bits:
            if not _whole(number, 1, MAX_BITS):
                raise HashzooError(f"a code length is a whole number from 1 to {MAX_BITS}, not {number!r}")
        for what, seed in (*(("a seed", seed) for seed in self.seeds), ("the seed of folds", self.fold_seed)):
            if not _whole(seed, 0, MAX_SEED):
                raise HashzooError(f"{what} is a whole number from 0 to {MAX_SEED}, not {seed!r}")
        if self.folds is not None and not _whole(self.folds, 2, MAX_FOLDS):
            raise HashzooError(f"folds are a whole number from 2 to {MAX_FOLDS}, not {self.folds!r}")
        if self.folds is not None and self.stream is not None:
            raise HashzooError("--folds and --protocol online exclude each other; give one of the two")
        _check_count("threads", self.threads)
        check_batch_size(self.batch_size)
        for method in self.methods:
            zoo.load().find("method", method)
        check_device(self.device)


def bench(
    methods: Sequence[str],
    bits: Sequence[int] = (16, 32, 64, 128),
    *,
    dataset: str | Dataset = "emoji",
    encoders: str = "lite",
    seeds: Sequence[int] = (0,),
    settings: Iterable[str] = (),
    sweep: Mapping[str, Sequence[Any]] | None = None,
    folds: int | None = None,
    fold_seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    device: str = "auto",
    threads: int | None = None,
    jobs: int | None = 1,
    fresh: bool = False,
    allow_overlap: bool = False,
    batch_size: int | None = None,
    stream: Stream | None = None,
    runner: str | None = None,
    ray_address: str = "",
    shard: str = "",
    watch: Callable[[Event], None] = lambda event: None,
) -> dict[str, Any]:
    """Train and compare methods. Finished runs are reused; the random floor is always added.

    Args:
        methods: names of methods.
        bits: code lengths.
        dataset: name of a data set, with its variant ("emoji/full") or what follows its colon
            ("table:photos.parquet"), or a Dataset. Worker processes open data sets by name, so that cells
            on one that is given as an object are trained in this process, one after another.
        encoders: "lite", "paper", or pairs such as "lite0+bow", comma-separated.
        seeds: every cell is trained once with each.
        settings: such as "trainer.lr=1e-3" or "soda.trainer.alpha=0.3"; a later one wins.
        sweep: settings with several values each, such as {"trainer.alpha": [0.01, 0.1]}: every combination is
            trained. A method without a setting is trained once for all of its values; settings of the data,
            "dataset.*" and "train_data.*", make a track for each value.
        folds: k-fold cross-validation over the rows of train and val: a track for each fold, and no query
            row of the data set's own split is used (see `hashzoo.data.folds`).
        fold_seed: decides which row is in which fold.
        runs: the folder that keeps runs, or an address of any file system that fsspec knows: "s3://bucket/prefix".
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: of the CPU for each run; when None one, or all for a run that trains an encoder along.
        jobs: cells that are trained side by side, each in a process of its own; None is what suits the machine, or as
            many as fit the cluster.
        fresh: train again what is finished.
        allow_overlap: score although query rows stand in other splits too; every table says so.
        batch_size: rows that an encoder takes at once where features are computed; None is what suits the device.
        stream: the database arrives in chunks, and methods are measured after each; None: it is there from the start.
        runner: "local" trains in this process, "processes" in worker processes of this machine, "ray" on a Ray cluster;
            None is the first or the second, by `jobs`. Runs and results are the same (see `hashzoo.runners`).
        ray_address: of the cluster; "": `$RAY_ADDRESS`, or a Ray that is started on this machine.
        shard: "2/8" trains the second of eight shares of the cells; the eight together are the bench.
        watch: is told how far the bench is.

    Returns:
        {"schema": 1, "track": {...}, "results": [...]}, or, of several tracks, {"schema": 1, "tracks": [...]}, each
        such an object; docs/results.md describes each field.

    Raises:
        HashzooError: something asked for does not exist, weights are missing, or nothing can be written.
    """
    request = Request(
        methods=list(methods),
        bits=list(bits),
        dataset=dataset,
        encoders=encoders,
        seeds=list(seeds),
        settings=list(settings),
        sweep={path: [text_of(value) for value in values] for path, values in (sweep or {}).items()},
        folds=folds,
        fold_seed=fold_seed,
        runs=runs,
        device=device,
        threads=threads,
        allow_overlap=allow_overlap,
        batch_size=batch_size,
        stream=stream,
    )
    return bench_all(
        [request], jobs=jobs, fresh=fresh, runner=runner, ray_address=ray_address, shard=shard, watch=watch
    )


def bench_all(
    requests: Sequence[Request],
    *,
    jobs: int | None = 1,
    fresh: bool = False,
    runner: str | None = None,
    ray_address: str = "",
    shard: str = "",
    watch: Callable[[Event], None] = lambda event: None,
) -> dict[str, Any]:
    """Several benches as one: all are checked before any is trained, and workers are shared. Else as `bench`."""
    _check_count("jobs", jobs)
    runners.check_runner(runner, ray_address)
    runners.check_jobs(runner, jobs)
    share = Shard.parse(shard) if shard else None
    objects = [request.dataset.name for request in requests if isinstance(request.dataset, Dataset)]
    if objects and (jobs not in (None, 1) or runner not in (None, "local")):
        raise HashzooError(
            f"worker processes cannot be given the data set '{objects[0]}' as an object; "
            f"leave jobs and runner out, or name a data set"
        )
    plans: list[Plan] = []
    for request in requests:
        request.check()
        check_fresh(os.fspath(request.runs), fresh)
        plans += _plans(request, plans[-1] if plans else None)
    tasks = [(number, cell) for number, plan in enumerate(plans) for cell in plan.cells]
    own = share.of_tasks(plans, tasks) if share else range(len(tasks))
    results: dict[int, dict[str, Any]] = {}

    def tell(kind: str, task: int, content: dict[str, Any]) -> None:
        number, cell = tasks[task]
        mirror = plans[number].mirror
        if kind == "done":
            results[task] = content = mirror.of_worker(content) if mirror is not None else content
        watch(Event(kind, task + 1, len(tasks), cell, content, plans[number].called if len(plans) > 1 else ""))

    if not fresh:
        for number in dict.fromkeys(tasks[task][0] for task in own):
            plans[number].fetch([tasks[task][1] for task in own if tasks[task][0] == number])
    waiting = []
    for task in own:
        number, cell = tasks[task]
        finished = None if fresh else plans[number].finished(cell)
        if finished is None:
            waiting.append(task)
        else:
            tell("done", task, finished)
    if waiting:
        used = [plans[number] for number in dict.fromkeys(tasks[task][0] for task in waiting)]
        for plan in used:
            plan.check()
        if runner != "ray":  # its nodes may have what this machine has not
            used[0].open()
        first: dict[str, int] = {}  # of the tasks that are alike
        alike = {task: first.setdefault(plans[tasks[task][0]].content(tasks[task][1]), task) for task in waiting}
        chosen = runners.choose_runner(runner, 1 if objects else jobs, ray_address, used, len(first))
        if chosen.name != "local":
            used[0].close()  # workers open it for themselves
        chosen_tasks = {task: tasks[task] for task in first.values()}
        cells.train(chosen, plans, chosen_tasks, fresh, spread=runner is not None, tell=tell)
        for task in waiting:
            if task not in results:
                tell("done", task, results[alike[task]] | {"reused": True})
    found = _joined([(plans[tasks[task][0]], results[task]) for task in own])
    return share.marked(found, len(own), len(tasks)) if share else found


def check_batch_size(batch_size: int | None) -> None:
    """Raise unless it is a number of rows, or None."""
    if batch_size is not None and not _whole(batch_size, 1, MAX_BATCH):
        raise HashzooError(f"the batch size is auto or a whole number from 1 to {MAX_BATCH}, not {batch_size!r}")


def _plans(request: Request, like: Plan | None) -> list[Plan]:
    """A plan for each track of a bench: each combination of swept settings of the data, and each fold."""
    known = zoo.load()
    methods = [*request.methods, *([] if FLOOR_METHOD in request.methods else [FLOOR_METHOD])]
    settings = list(request.settings)
    axes = axes_of(request.sweep or {}, settings, methods)
    of_data = [axis for axis in axes if axis[0].section in SHARED]
    of_methods = [axis for axis in axes if axis[0].section not in SHARED]
    asked = methods, parse_encoders(request.encoders, known), request.bits, request.seeds
    folds = [(n + 1, request.folds, request.fold_seed) for n in range(request.folds)] if request.folds else [None]
    found: dict[str, Plan] = {}
    for combination in combinations(of_data):
        chosen = [f"{one.path}={one.text}" for one in _with_use(combination, settings)]
        for fold in folds:
            plan = like = plan_of(
                cells_of(*asked),
                request.dataset,
                settings + chosen,
                os.fspath(request.runs),
                request.device,
                request.threads,
                batch_size=request.batch_size,
                allow_overlap=request.allow_overlap,
                fold=fold,
                stream=request.stream,
                like=like,
            )
            plan.called = " ".join([plan.track.dataset, *chosen, *([f"fold {fold[0]}"] if fold else [])])
            plan.swept = {one.path: one.text for one in combination if one.section == "dataset"}
            if of_methods:
                names = functools.partial(setting_names, known, plan.dataset.raw)
                plan.take(cells_of(*asked, of_methods, settings, names))
            found.setdefault(plan.track.id, plan)
    return list(found.values())


def _with_use(combination: Sequence[Assignment], settings: Sequence[str]) -> list[Assignment]:
    """A combination of swept settings without the seed of harder training data, where these are not made harder."""
    others = [one for one in combination if one.path != "train_data.seed"]
    if len(others) == len(combination):
        return others
    texts = [text for text in settings if text.strip().startswith("train_data.")]
    of_training = parse_assignments(texts, [])
    harder = train_data([*of_training, *others]).options()
    return list(combination) if harder else others


def _joined(results: Sequence[tuple[Plan, dict[str, Any]]]) -> dict[str, Any]:
    """What a bench gives back: the results by track, each run once."""
    items: dict[str, dict[str, Any]] = {}
    seen = set()
    for plan, result in results:
        about = {"id": plan.track.id, **plan.track.describe(), **({"swept": plan.swept} if plan.swept else {})}
        item = items.setdefault(plan.track.id, {"schema": 1, "track": about, "results": []})
        if result["run"] not in seen:
            item["results"].append(result)
        seen.add(result["run"])
    tracks = list(items.values())
    return tracks[0] if len(tracks) == 1 else {"schema": 1, "tracks": tracks}


def _check_distinct(what: str, values: Sequence[Any]) -> None:
    if not values:
        raise HashzooError(f"no {what} was given; name at least one")
    repeated = next((value for value in values if list(values).count(value) > 1), None)
    if repeated is not None:
        raise HashzooError(f"{what} {repeated} is given twice; name each once")


def _check_count(name: str, count: int | None) -> None:
    if count is not None and not _whole(count, 1, MAX_THREADS):
        raise HashzooError(f"{name} are a whole number from 1 to {MAX_THREADS}, not {count!r}")


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
