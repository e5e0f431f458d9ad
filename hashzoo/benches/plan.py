"""The cells of one track: found finished on disk, or trained. Imports no torch before a cell has to be trained."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo import zoo
from hashzoo.benches.mirror import LOCKS, Mirror, check_fetched, place_of
from hashzoo.benches.records import RUN, check_files, files_of, read_record
from hashzoo.benches.rounds import score_run
from hashzoo.benches.track import Track, evaluator_digest, read_result
from hashzoo.codes import pack
from hashzoo.data import Dataset
from hashzoo.data.folds import InFold
from hashzoo.data.locks import alone
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.opening import dataset_settings, open_dataset, train_data
from hashzoo.recipe import ROLES, Cell, Recipe, build, check_used, pair_of
from hashzoo.settings import Assignment, Value, parse_assignments
from hashzoo.source import environment
from hashzoo.storage.files import archive_folder, digest, write_arrays, write_json

if TYPE_CHECKING:
    import torch

    from hashzoo.benches.run import Planned
    from hashzoo.benches.workbench import Workbench

OPENED = "dataset.json"  # of a track's folder: how its data set was named


def plan_of(
    cells: list[Cell],
    dataset: str | Dataset,
    settings: list[str],
    runs: str,
    device: str,
    threads: int | None,
    batch_size: int | None = None,
    allow_overlap: bool = False,
    fold: tuple[int, int, int] | None = None,
    stream: Stream | None = None,
    like: Plan | None = None,
) -> Plan:
    """The plan of a track; from plain words, so that a worker process can make it again, or for a Dataset.

    Args:
        fold: number (from 1), number of folds and seed, where the usual splits give way to one of a cross-validation.
        stream: the database arrives in chunks, in place of being there from the start.
        like: a plan whose data set is taken instead of being opened again, if it is the same one.
    """
    words: dict[str, Any] = {"cells": cells, "dataset": dataset, "settings": settings, "runs": runs}
    words |= {"device": device, "threads": threads, "batch_size": batch_size, "allow_overlap": allow_overlap}
    words |= {"fold": fold, "stream": stream}
    folder, mirror = place_of(runs)
    assignments = parse_assignments(settings, {cell.method: None for cell in cells})
    typed = [assignment for assignment in assignments if assignment.section == "dataset"]
    about: dict[str, Value] = {}
    if not isinstance(dataset, Dataset):
        about = {f"dataset.{name}": value for name, value in dataset_settings(dataset, typed).items()}
    elif typed:
        raise HashzooError(f"{typed[0].path} is for a data set that is named; '{dataset.name}' is made already")
    source = (dataset, typed)
    same = like if like is not None and like.source == source else None
    whole = same.whole if same else dataset if isinstance(dataset, Dataset) else open_dataset(dataset, typed)
    data = whole if fold is None else InFold(whole, *fold, fingerprint=same.track.fingerprint if same else "")
    arrival = None
    if stream is not None:
        data.check(allow_overlap)
        data, arrival = stream.arrange(data)
    track = Track.of(data, train_data(assignments), allow_overlap, arrival)
    return Plan(
        zoo=zoo.load(),
        whole=whole,
        dataset=data,
        track=track,
        runs=folder,
        mirror=mirror,
        cells=cells,
        assignments=assignments,
        about=about,
        device=device,
        threads=threads,
        batch_size=batch_size,
        source=source,
        words=words,
    )


@dataclass(eq=False)
class Plan:
    """The cells of one track: finds those that are finished, trains the others.

    Attributes:
        whole: the data set as it was opened.
        dataset: the data set with the splits of the track.
        runs: the folder in which runs are worked on.
        mirror: what that is of, where the runs are kept at an address.
        cells: all that are asked for on this track.
        assignments: what was set, swept settings of the data among it; cells have swept ones of their own beside.
        about: every setting of the data set, as "dataset.size".
        source: what `whole` was opened by.
        words: the arguments of `plan_of`.
        called: the track in words, where a bench has several.
        swept: those settings of the data set that a bench has several values of.
    """

    zoo: zoo.Zoo
    whole: Dataset
    dataset: Dataset
    track: Track
    runs: Path
    mirror: Mirror | None
    cells: list[Cell]
    assignments: list[Assignment]
    about: dict[str, Value]
    device: str
    threads: int | None
    batch_size: int | None
    source: tuple[str | Dataset, list[Assignment]]
    words: dict[str, Any]
    called: str = ""
    swept: dict[str, str] = field(default_factory=dict)
    _track_pushed: bool = False
    _built: dict[tuple[Any, ...], Recipe] = field(default_factory=dict)
    _requests: dict[str, dict[str, Path]] = field(default_factory=dict)

    def take(self, cells: list[Cell]) -> None:
        """Have other cells."""
        self.cells = self.words["cells"] = cells

    def fetch(self, cells: list[Cell]) -> None:
        """Bring those runs of some cells here that are finished at the address of the runs, if they have one."""
        if self.mirror is not None:
            self.mirror.fetch_asked(self.track.id, {self.request(cell): cell for cell in cells})

    def finished(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a run that was asked for in the same words, in an unchanged environment."""
        folder = self._folders(cell.method).get(self.request(cell))
        result = self._found(folder) if folder is not None else None
        if result is not None:
            self._keep_track()
        return result

    def train(self, cell: Cell, fresh: bool, watch: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Train a cell, unless a run of the same content is there under other words.

        Of several processes that want the same run one trains it, and the others wait and take it.
        """
        from hashzoo.benches import run

        planned = self._planned(cell)
        with self._alone(planned):
            reused = None if fresh else self._found(planned.folder)
            if reused is not None and reused["key"] == planned.key:
                return reused | {"settings": run.typed_settings(planned.description)}
            return self._kept(planned.folder, run.train_cell(self.workbench, planned, watch))

    def fail(self, cell: Cell, reason: str) -> dict[str, Any]:
        """Keep that a cell cannot be trained, and why; its result."""
        from hashzoo.benches import run

        planned = self._planned(cell)
        with self._alone(planned):
            return self._kept(planned.folder, run.fail_cell(self.workbench, planned, reason))

    def _alone(self, planned: Planned) -> contextlib.AbstractContextManager[None]:
        """Nobody else writes the run meanwhile."""
        waiting = f"another process works on {planned.folder}; waiting for it"
        return alone(self.runs / self.track.id / LOCKS, f"{planned.key}.lock", waiting)

    def _planned(self, cell: Cell) -> Planned:
        """The run of a cell, before it is made."""
        from hashzoo.benches import run

        recipe = self.recipe(cell)
        description = run.describe(self.workbench, recipe, cell)
        folder = run.folder_of(self.runs, self.track, cell, dict(recipe.encoders), run.key_of(description))
        settings = {name: {"value": value.value, "origin": value.origin} for name, value in self.about.items()}
        return run.Planned(recipe, cell, folder, description, self.request(cell), settings)

    def check(self) -> None:
        """Refuse what cannot be asked for of any cell, before anything is trained."""
        recipes = {(cell.method, cell.encoders, cell.swept): self.recipe(cell) for cell in self.cells}
        for recipe in recipes.values():
            for section in ("loss", "trainer"):
                if section in recipe.sections:
                    recipe.sections[section].build()  # a value that it refuses is told before any work
        check_used(self.assignments, recipes.values())

    def open(self) -> None:
        """Build every encoder, so that all missing weights are told at once, and write the track down."""
        _ = self.workbench

    def prepare(self) -> None:
        """Do once, before workers start, what each of them would do: features and compiled kernels into the caches."""
        workbench = self.workbench
        for _, recipe in self.recipes():
            for role in recipe.encoders:
                with contextlib.suppress(Exception):  # what fails here fails again in its cell, and is told there
                    workbench.encoded(recipe, role)
        blank = {
            f"{role}_{split}": pack(np.zeros((self.track.counts[split], 1)))
            for role in ROLES
            for split in ("query", "database")
        }
        self.track.score(blank)  # compiles the kernels, where they are not in numba's cache yet

        self.close()

    def close(self) -> None:
        """Let encoders and features go; they are opened again if need be."""
        self.__dict__.pop("workbench", None)

    def most_threads(self) -> int:
        """The CPU threads of that run which takes the most."""
        return max(recipe.threads(self.threads) for _, recipe in self.recipes())

    def content(self, cell: Cell) -> str:
        """Digest of what tells the runs of a bench apart: two cells may ask for the same run in other words."""
        recipe = self.recipe(cell)
        values = {name: setting["value"] for name, setting in recipe.settings().items()}
        where = [str(self.runs), self.track.id, self.device, self.threads]
        return digest([where, cell.method, dict(recipe.encoders), values, cell.bits, cell.seed])

    def recipe(self, cell: Cell) -> Recipe:
        """The method of a cell with everything chosen."""
        key = cell.method, cell.encoders, cell.swept
        if key not in self._built:
            method = self.zoo.find("method", cell.method)[1]
            encoders = pair_of(cell.encoders, method, self.zoo, self.dataset.raw)
            self._built[key] = build(self.zoo, cell.method, encoders, [*self.assignments, *cell.swept])
        return self._built[key]

    def request(self, cell: Cell) -> str:
        """Digest of what was typed for a cell, and of every source and package that gives it a meaning."""
        typed = {
            f"{assignment.section}.{assignment.key}": [assignment.text, _identity(assignment)]
            for assignment in (*self.assignments, *cell.swept)
            if assignment.method in (None, cell.method)
        }  # of two for one setting the later one holds
        asked = {name: value for name, value in asdict(cell).items() if name != "swept"}
        return digest(
            [
                *(self.track.describe(), asked, typed, self.device, self.threads),
                *(sources(self.zoo), environment()),
                *(_encoder_identity(name) for name in cell.encoders.split("+")),
            ]
        )

    def recipes(self) -> list[tuple[Cell, Recipe]]:
        """Every recipe of the bench, each once, with a cell that has it."""
        return list({id(self.recipe(cell)): (cell, self.recipe(cell)) for cell in self.cells}.values())

    def _folders(self, method: str) -> dict[str, Path]:
        """The folders of a method's finished runs on this track, by the digest of what they were asked for."""
        if method not in self._requests:
            self._requests[method] = {}
            for path in (self.runs / self.track.id / method).glob("*/result.json"):
                with contextlib.suppress(HashzooError):  # a damaged result is no result: the cell is trained again
                    self._requests[method][read_result(path)["request"]] = path.parent
        return self._requests[method]

    @functools.cached_property
    def workbench(self) -> Workbench:
        """What all cells share. The first thing is written here, when nothing asked for can be refused any more."""
        from hashzoo.benches.workbench import Workbench
        from hashzoo.encoders.base import MissingWeights

        workbench = Workbench(self.dataset, self.track, find_device(self.device), self.threads, self.batch_size)
        missing: dict[str, MissingWeights] = {}
        roles = dict.fromkeys(ROLES)
        for _, recipe in self.recipes():
            for role in recipe.encoders:
                try:
                    workbench.described(recipe, role)
                except MissingWeights as error:
                    missing[error.encoder] = error
                    roles[role] = None
        if missing:
            raise MissingWeights.joined(list(missing.values()), list(roles))
        self._keep_track()
        return workbench

    def _keep_track(self) -> None:
        """Keep the track beside its runs, and in which words its data set was asked for."""
        folder = self.runs / self.track.id
        self.track.save(folder)
        name, typed = self.source
        path = folder / OPENED
        if isinstance(name, str) and not path.exists():
            settings = [f"{given.path}={given.text}" for given in typed]
            write_json(path, {"schema": 1, "name": name, "settings": settings, "fold": self.words["fold"]})
        if self.mirror is not None and not self._track_pushed:
            self.mirror.push_track(folder)
            self._track_pushed = True

    def _found(self, folder: Path) -> dict[str, Any] | None:
        """The result in a folder, or else at the address that it mirrors, which gets what it lacks."""
        result = self._reuse(folder)
        if self.mirror is not None and result is not None:
            self.mirror.push(folder)
        elif self.mirror is not None and self.mirror.take(folder):
            result = self._reuse(folder)
        return result

    def _kept(self, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
        """The result of a cell that has ended, which is pushed; or that of another machine, if that was first."""
        if self.mirror is not None and not self.mirror.push(folder) and self.mirror.take(folder):
            result = self._reuse(folder) or result
        return result if "reused" in result else result | {"reused": False, "run": str(folder)}

    def _reuse(self, folder: Path) -> dict[str, Any] | None:
        """The result in a folder, scored again if the evaluator has changed; None when the run is not complete."""
        path = folder / "result.json"
        if not path.exists():
            return None
        try:
            result = read_result(path)
            read_record(folder / "run.json", RUN)  # without it, nobody could say what the result is of
            (check_files if self.mirror is None else check_fetched)(folder, result)
            if result["evaluator"] != evaluator_digest():
                scores, per_query = score_run(self.track, folder)
                result |= scores
                write_arrays(folder / "per_query.npz", per_query)
                write_json(path, result | {"files": result.get("files", {}) | files_of(folder)})
            return result | {"reused": True, "run": str(folder)}
        except HashzooError:
            return None  # a damaged result is no result: the cell is trained again


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


@functools.cache
def sources(known: zoo.Zoo) -> dict[str, str]:
    folders = ("benches", "data", "encoders", "features", "storage")
    own = {"hashzoo": zoo.source_digest("hashzoo", "*.py", *(f"{folder}/*.py" for folder in folders))}
    return own | {p.name: p.source_digest() for p in known.plugins if p.state == "ok" and p.name != "hashzoo"}


def _identity(assignment: Assignment) -> list[Any] | None:
    """Of the file or folder that a setting names."""
    named = _encoder_identity if assignment.key == "encoder" else _file_identity
    return named(assignment.text)


def _encoder_identity(name: str) -> list[Any] | None:
    """Of the folder that an encoder's name holds, such as that of an archive."""
    argument = name.partition(":")[2]
    return _file_identity(str(archive_folder(argument))) if argument else None


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
