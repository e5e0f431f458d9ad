"""Filling a collection: items through a model, part after part, going on after a kill.

Parts are encoded here, or by the workers of a runner, in any order. Groups of them become parts of the collection in
their order, so that its bytes do not depend on who encoded what, nor on how often that was stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from hashzoo.benches.shard import Shard
from hashzoo.codes import pack
from hashzoo.errors import HashzooError
from hashzoo.inference.encoding import Encoded, Filler, Part, encoded_parts, parts_alone, parts_of
from hashzoo.inference.items import Items, items_of, spread
from hashzoo.inference.model import Model, load_model
from hashzoo.progress import progress
from hashzoo.recipe import ROLES
from hashzoo.runners import Kind, Runner, Task, Workers, check_runner, named_runner
from hashzoo.runners.parts import Count, Spread, answered, asked, given_up, make_array, need_of
from hashzoo.search import Collection
from hashzoo.search.collection import check_new
from hashzoo.search.manifest import NAME
from hashzoo.search.tables import pyarrow_module
from hashzoo.storage.arrays import Wanted
from hashzoo.storage.files import canonical_json, write_error

PARTS = ".parts"  # of the collection's folder, while it is filled
MOST_LOST = 10  # items that are found to end their workers: it is not the items, then
WAIT = 60.0  # seconds in which a share waits for another that makes the collection


@dataclass
class Filled:
    """What became of the items.

    Attributes:
        collection: with all of them in it; of a share, without those that it has encoded.
        there: how many were in it before.
        added: how many came.
        left_out: why each of the others could not be encoded, by its name.
        share: how many items a share has, and of how many.
    """

    collection: Collection
    there: int = 0
    added: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    share: tuple[int, int] | None = None


@dataclass(frozen=True)
class Job:
    """Who encodes: `told` are the arguments of `encode` from which a worker process opens model and items."""

    runner: Runner
    told: Mapping[str, Any]
    need: Task


def encode(
    run: Path | str,
    out: Path | str,
    source: Mapping[str, str],
    *,
    outputs: bool = False,
    device: str = "auto",
    batch: int | None = None,
    jobs: int | None = None,
    runner: str | None = None,
    ray_address: str = "",
    shard: str = "",
) -> tuple[Model, Filled]:
    """Open a model and items, and `fill` a collection with them.

    Args:
        run: the folder of a run, or of a collection whose model is taken.
        out: the folder of the collection.
        source: of the items: what `items.items_of` takes.
        outputs: keep the real values beside the codes, for re-ranking.
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch: rows that an encoder takes at once; None is what suits the device.
        jobs: threads of this process that read and encode, worker processes, or tasks of a cluster at a time; None is
            as many as there are processors.
        runner: "local", or None, encodes in this process, "processes" in worker processes of this machine, "ray" on a
            Ray cluster. The collection is the same.
        ray_address: of the cluster; "": `$RAY_ADDRESS`, or a Ray that is started on this machine.
        shard: "2/8" encodes the second of eight shares of the items; the same call without it puts them into the
            collection, when all have been encoded.
    """
    check_runner(runner, ray_address)
    share = Shard.parse(shard) if shard else None
    told = {"run": str(run), "source": dict(source), "device": device, "batch": batch}
    chosen = named_runner(runner or "local", jobs, ray_address, device)
    need = need_of(chosen, device)
    model = load_model(run, device)
    items = items_of(source, run)
    job = None
    if share or chosen.name != "local":
        job = Job(chosen, told, replace(need, threads=jobs or need.threads) if chosen.name == "local" else need)
    return model, fill(Path(out), model, items, outputs=outputs, batch=batch, workers=jobs, job=job, share=share)


def fill(
    path: Path,
    model: Model,
    items: Items,
    *,
    outputs: bool = False,
    batch: int | None = None,
    workers: int | None = None,
    job: Job | None = None,
    share: Shard | None = None,
) -> Filled:
    """Encode those items that are not in a collection yet, and add them; the collection is made where there is none.

    Finished parts are kept whatever happens, and the same call goes on from there. Items that cannot be read are told
    on stderr, each once, and left out.

    Args:
        path: of the collection.
        model: of which it holds a copy.
        outputs: keep the real values beside the codes, for re-ranking.
        batch: rows that an encoder takes at once; None is what suits the device.
        workers: threads of this process that read and encode; None is one a processor.
        job: who encodes, if it is not this process.
        share: of the items, which are encoded, and not added yet.

    Raises:
        HashzooError: the collection is of another model or another source, or cannot be written.
    """
    roles = [role for role in ROLES if np.any(items.roles == role)]
    for role in roles if items.dataset is None else ():
        model.encoder(role)  # a model without one is told before anything is made
    if not (path / NAME).exists():
        check_new(path)  # before anything is put into it
    lock = FileLock(path / ".encode.lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with lock.acquire(timeout=WAIT if share else 0):
            filling = _Filling(_opened(path, model, items, outputs), model, items, batch, workers, job)
            if share is None:
                return filling.fill(roles)
        return filling.encode_share(roles, share)
    except Timeout:
        raise HashzooError(f"another hashzoo encode is filling {path}; wait for it, or give another --out") from None
    except OSError as error:
        raise write_error(path / NAME, error) from error


def _opened(path: Path, model: Model, items: Items, outputs: bool) -> Collection:
    """The collection, made if need be; one of something else is an error."""
    about = json.loads(canonical_json({"source": items.source, "key": model.about["key"], "model": model.name}))
    if not (path / NAME).exists():
        return Collection.create(path, model.bits, outputs=outputs, model=model.files(), about=about)
    collection = Collection(path)
    was = collection.about
    if was.get("key") != about["key"]:
        raise HashzooError(
            f"{path} holds codes of another model ({was.get('model', 'none is known')}); give another --out"
        )
    if was.get("source") != about["source"]:
        raise HashzooError(f"{path} holds codes of something else than {items.name} as it is now; give another --out")
    if collection.outputs != outputs:
        raise HashzooError(
            f"{path} was begun {'with' if collection.outputs else 'without'} --outputs; "
            f"{'add it' if collection.outputs else 'leave it out'}, or give another --out"
        )
    return collection


class _Filling:
    """A collection that is filled: what is missing, what waits, and what has come."""

    def __init__(
        self,
        collection: Collection,
        model: Model,
        items: Items,
        batch: int | None,
        workers: int | None,
        job: Job | None,
    ):
        self._model, self._items, self._batch, self._workers, self._job = model, items, batch, workers, job
        self._missing = ~_known(collection, items)
        self._place = collection.path / PARTS
        self._begun = self._place.exists()
        self._filled = Filled(collection, there=int(np.count_nonzero(~self._missing)))
        self._lost = 0  # items that end their workers

    def fill(self, roles: Sequence[str]) -> Filled:
        """Encode and add what is missing."""
        filled, collection = self._filled, self._filled.collection
        if filled.there:
            what = spread(self._items.roles[~self._missing])
            print(f"{collection.path.name}: going on after {what} that are there already", file=sys.stderr)
        nothing = np.flatnonzero(self._missing & (self._items.roles == ""))
        self._leave_out(dict.fromkeys(nothing.tolist(), "there is neither a picture nor a text"))
        parts = parts_of(self._items, roles, self._missing, self._model)
        joined = _Joined(self, parts)
        with contextlib.ExitStack() as stack:
            workers = self._opened_workers(stack, parts)
            self._encode(parts, f"encoding {self._items.name}", workers, joined.done)
        if joined.commits > 1 or self._begun:
            collection.compact()
        shutil.rmtree(self._place, ignore_errors=True)
        return filled

    def encode_share(self, roles: Sequence[str], share: Shard) -> Filled:
        """Encode what is missing of a share; it waits in its files."""
        all_parts = parts_of(self._items, roles, np.ones_like(self._missing), self._model)
        chosen = {part.number for part in all_parts[share.number - 1 :: share.of]}
        parts = [part for part in parts_of(self._items, roles, self._missing, self._model) if part.number in chosen]

        def done(part: Part) -> None:
            self._leave_out(self._taken(part)[2])

        with contextlib.ExitStack() as stack:
            workers = self._opened_workers(stack, parts)
            what = f"encoding share {share.number} of {share.of} of {self._items.name}"
            self._encode(parts, what, workers, done)
        count = sum(len(part.rows) for part in all_parts if part.number in chosen)
        self._filled.share = count, sum(len(part.rows) for part in all_parts)
        return self._filled

    def _opened_workers(self, stack: contextlib.ExitStack, parts: Sequence[Part]) -> Workers | None:
        """Workers; features of a data set that are not in the cache are computed by them first. None: this process."""
        waiting = [part for part in parts if not (self._place / part.name).exists()]
        if self._job is None or not waiting:
            return None
        runner, need = self._job.runner, self._job.need
        told = {**self._job.told, "parts": str(self._place)}
        here = Filler(told, self._model, self._items)
        workers = stack.enter_context(
            runner.workers(Kind("hashzoo.inference.encoding:Filler", told, lambda: here, need.gpu))
        )
        if self._items.dataset is not None and runner.name != "local":
            roles = list(dict.fromkeys(part.role for part in waiting))
            asking = replace(need, words={"do": "features", "roles": roles})
            for role, words in asked(workers, asking)["arrays"].items():
                make_array(Wanted(**words), Spread(workers, {"role": role}, need))
        return workers

    def _encode(self, parts: Sequence[Part], what: str, workers: Workers | None, done: Callable[[Part], None]) -> None:
        """Encode parts, one modality after the other, unless they wait already; `done` is told of each."""
        for _, own in itertools.groupby(parts, key=lambda part: part.role):
            self._encode_role(list(own), what, workers, done)

    def _encode_role(
        self, parts: Sequence[Part], what: str, workers: Workers | None, done: Callable[[Part], None]
    ) -> None:
        waiting = [part for part in parts if not (self._place / part.name).exists()]
        numbers = {part.number for part in waiting}
        kept = [part for part in parts if part.number not in numbers]
        with progress(what, sum(len(part.rows) for part in parts), f"{parts[0].role}s") as advance:
            if kept:
                count = sum(len(part.rows) for part in kept)
                print(f"{what}: going on after {count:,} that are encoded already", file=sys.stderr)
                advance(count)
            for part in kept:
                done(part)
            if workers is not None:
                self._encode_by(workers, waiting, advance, done)
                return
            found = encoded_parts(self._model, self._items, waiting, self._batch, self._workers, advance)
            for part, encoded in found:
                encoded.write(self._place / part.name)
                done(part)

    def _encode_by(
        self, workers: Workers, parts: Sequence[Part], advance: Callable[[int], None], done: Callable[[Part], None]
    ) -> None:
        """The same by workers, which write the files."""
        tasks = {number: self._task(part) for number, part in enumerate(parts)}
        sizes = {number: len(part.rows) for number, part in enumerate(parts)}
        count = Count(sizes, advance, lambda number: parts[number].called)

        def seen(number: int, answer: dict[str, Any]) -> None:
            self._check_seen(parts[number], answer["node"])
            done(parts[number])

        for number, reason in given_up(workers, tasks, count, seen).items():
            self._encode_alone(workers, parts[number], reason)
            done(parts[number])

    def _task(self, part: Part) -> Task:
        assert self._job is not None, "whose workers they are"
        need = self._job.need
        words = {"do": "encode", "role": part.role, "rows": part.rows.tolist(), "name": part.name}
        return replace(need, words={**words, "threads": need.threads})

    def _check_seen(self, part: Part, node: str) -> None:
        if not (self._place / part.name).exists():
            raise HashzooError(
                f"{node} wrote codes to {self._place}, which this machine does not see; give --out a folder that all "
                f"nodes share",
                exit_code=1,
            )

    def _is_sought(self, part: Part) -> bool:
        """Whether it is worth looking for the item of a part that ends its workers."""
        return len(part.rows) > 1 and self._lost < MOST_LOST

    def _encode_alone(self, workers: Workers, part: Part, reason: str) -> None:
        """Encode the items of a part that was given up one after the other: who ends a worker alone is left out."""
        if self._is_sought(part):
            print(f"hashzoo: {part.called}: one after the other now, to find what ends its worker", file=sys.stderr)
        places: list[int] = []
        values = [np.empty((0, self._model.bits), dtype=np.float32)]
        faults: dict[int, str] = {}
        for place, one in enumerate(parts_alone(self._items, part, self._model)):
            answer = {"lost": reason}
            if self._is_sought(part):
                answer = answered(workers, self._task(one))
                self._lost += "lost" in answer
            if "lost" in answer:
                faults[place] = answer["lost"]
                continue
            self._check_seen(one, answer["node"])
            found = Encoded.read(self._place / one.name)
            (self._place / one.name).unlink()
            places += [place] * len(found.places)
            values.append(found.values)
            for why in found.faults.values():
                faults[place] = why
        Encoded(places, np.concatenate(values), faults).write(self._place / part.name)

    def _taken(self, part: Part) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Rows of the items and their outputs, (n, bits), and why others have none."""
        found = Encoded.read(self._place / part.name)
        faults = {int(part.rows[place]): why for place, why in found.faults.items()}
        return part.rows[found.places], found.values, faults

    def _leave_out(self, faults: Mapping[int, str]) -> None:
        for row, why in faults.items():
            name = self._items.called(row)
            self._filled.left_out[name] = why
            print(f"hashzoo: {name} is left out: {why}", file=sys.stderr)


class _Joined:
    """Puts parts into the collection, group after group, each when it is whole.

    Attributes:
        commits: how often it has added some.
    """

    def __init__(self, filling: _Filling, parts: Sequence[Part]):
        self._filling, self._filled = filling, filling._filled
        self._groups: dict[tuple[str, int], list[Part]] = {}
        for part in parts:
            self._groups.setdefault(part.group, []).append(part)
        self._done: set[int] = set()
        self._table = pyarrow_module().table(dict(filling._items.columns))
        self.commits = 0

    def done(self, part: Part) -> None:
        self._done.add(part.number)
        while self._groups:
            group, parts = next(iter(self._groups.items()))
            if not all(one.number in self._done for one in parts):
                return
            del self._groups[group]
            self._add(parts)

    def _add(self, parts: Sequence[Part]) -> None:
        filling, items, collection = self._filling, self._filling._items, self._filled.collection
        taken = [filling._taken(part) for part in parts]
        rows = np.concatenate([one for one, _, _ in taken])
        if len(rows):
            values = np.concatenate([one for _, one, _ in taken])
            collection.append(
                pack(values),
                ids=None if items.ids is None else items.ids[rows],
                metadata=self._table.take(rows),
                outputs=values if collection.outputs else None,
            )
            self._filled.added += len(rows)
            self.commits += 1
        for part, (_, _, faults) in zip(parts, taken, strict=True):
            filling._leave_out(faults)
            (filling._place / part.name).unlink(missing_ok=True)


def _known(collection: Collection, items: Items) -> np.ndarray:
    """(N,) bool: which items are in the collection."""
    if items.ids is not None:
        return collection.contains(items.ids)
    there: set[str] = set()
    for _, _, table in collection.blocks():
        assert table is not None, "its items have names"
        there.update(table.column(items.key).to_pylist())
    names = items.columns[items.key]
    names = names if isinstance(names, list) else names.to_pylist()
    return np.array([name in there for name in names], dtype=np.bool_)
