"""Filling a collection: items through a model, shard after shard, going on after a kill."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from hashzoo.codes import pack
from hashzoo.encode import Model
from hashzoo.errors import HashzooError
from hashzoo.extraction import readable
from hashzoo.items import Items, spread
from hashzoo.progress import progress
from hashzoo.recipe import ROLES
from hashzoo.search import Collection
from hashzoo.search.manifest import NAME
from hashzoo.search.tables import pyarrow_module
from hashzoo.storage import canonical_json, write_error
from hashzoo.workbench import Workbench

SHARD = 8192  # items that become a part of the collection together
SECONDS = 20.0  # after which fewer do: so much work is lost by a kill
FEATURES = 8192  # rows whose cached features are taken at once
Encoded = tuple[list[int], np.ndarray, dict[int, str]]  # rows of the items, their outputs, and why others have none


@dataclass
class Filled:
    """What became of the items.

    Attributes:
        collection: with all of them in it.
        there: how many were in it before.
        added: how many came.
        left_out: why each of the others could not be encoded, by its name.
    """

    collection: Collection
    there: int = 0
    added: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def fill(
    path: Path,
    model: Model,
    items: Items,
    *,
    outputs: bool = False,
    batch: int | None = None,
    workers: int | None = None,
) -> Filled:
    """Encode those items that are not in a collection yet, and add them; the collection is made where there is none.

    Finished shards are kept whatever happens, and the same call goes on from there. Items that cannot be read are told
    on stderr, each once, and left out.

    Args:
        path: of the collection.
        model: of which it holds a copy.
        outputs: keep the real values beside the codes, for re-ranking.
        batch: rows that an encoder takes at once; None is what suits the device.
        workers: threads that read and encode; None is one a processor.

    Raises:
        HashzooError: the collection is of another model or another source, or cannot be written.
    """
    roles = [role for role in ROLES if np.any(items.roles == role)]
    for role in roles if items.dataset is None else ():
        model.encoder(role)  # a model without one is told before anything is made
    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / ".encode.lock", blocking=False):
            return _fill(_opened(path, model, items, outputs), model, items, roles, batch, workers)
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
            f"{'add' if collection.outputs else 'leave out'} that, or give another --out"
        )
    return collection


def _fill(
    collection: Collection, model: Model, items: Items, roles: list[str], batch: int | None, workers: int | None
) -> Filled:
    missing = ~_known(collection, items)
    filled = Filled(collection, there=int(np.count_nonzero(~missing)))
    if filled.there:
        what = spread(items.roles[~missing])
        print(f"{collection.path.name}: going on after {what} that are there already", file=sys.stderr)
    shard = _Shard(collection, items)
    if len(nothing := np.flatnonzero(missing & (items.roles == ""))):
        _leave_out(filled, items, dict.fromkeys(nothing.tolist(), "there is neither a picture nor a text"))
    try:
        for role in roles:
            rows = np.flatnonzero(missing & (items.roles == role))
            if not len(rows):
                continue
            found = _from_features if items.dataset is not None else _from_items
            with progress(f"encoding {items.name}", len(rows), f"{role}s") as advance:
                for done, values, faults in found(model, items, role, rows, batch, workers):
                    _leave_out(filled, items, faults)
                    shard.add(done, values)
                    advance(len(done) + len(faults))
    except KeyboardInterrupt:
        shard.close()
        raise
    shard.close()
    filled.added = shard.added
    if shard.commits > 1:
        collection.compact()
    return filled


def _from_items(
    model: Model, items: Items, role: str, rows: np.ndarray, batch: int | None, workers: int | None
) -> Generator[Encoded, None, None]:
    """Outputs of items that are read, prepared and encoded here; towers work in this thread, encoders in others."""
    how = replace(model.extraction(role), batch=batch, workers=workers)
    ranges = [range(start, min(start + how.rows, len(rows))) for start in range(0, len(rows), how.rows)]

    def prepare(place: int) -> torch.Tensor:
        return model.prepare(role, items.item(role, int(rows[place])))

    def network(prepared: torch.Tensor) -> torch.Tensor:
        return model.features(role, prepared)

    for _, kept, values, faults in readable(ranges, prepare, network, how, one_at_a_time=role == "text"):
        done = np.empty((0, model.bits), dtype=np.float32) if values is None else model.outputs(role, values).numpy()
        yield rows[kept].tolist() if kept else [], done, {int(rows[place]): why for place, why in faults.items()}


def _from_features(
    model: Model, items: Items, role: str, rows: np.ndarray, batch: int | None, workers: int | None
) -> Generator[Encoded, None, None]:
    """Outputs of rows of a data set, from its features in the cache; those that are missing there are computed."""
    assert items.dataset is not None, "that is whom it is for"
    assert items.rows is not None, "that is whom it is for"
    inputs = Workbench(items.dataset, model.track(), model.device, None, batch).encoded(model.recipe, role).inputs
    for start in range(0, len(rows), FEATURES):
        block = rows[start : start + FEATURES]
        yield block.tolist(), model.outputs_of_rows(role, inputs, items.rows[block]), {}


class _Shard:
    """Collects what was encoded, and adds it to the collection when it is enough, or took long enough.

    Attributes:
        added: items that are in the collection by it.
        commits: how often it has added some.
    """

    def __init__(self, collection: Collection, items: Items):
        self._collection, self._items = collection, items
        self._table = pyarrow_module().table(dict(items.columns))
        self._rows: list[int] = []
        self._values: list[np.ndarray] = []
        self._since = time.monotonic()
        self.added = self.commits = 0

    def add(self, rows: list[int], values: np.ndarray) -> None:
        self._rows += rows
        self._values.append(values)
        if len(self._rows) >= SHARD or time.monotonic() - self._since > SECONDS:
            self.close()

    def close(self) -> None:
        """Add what has been collected."""
        if self._rows:
            values = np.concatenate(self._values)
            self._collection.append(
                pack(values),
                ids=None if self._items.ids is None else self._items.ids[self._rows],
                metadata=self._table.take(self._rows),
                outputs=values if self._collection.outputs else None,
            )
            self.added += len(self._rows)
            self.commits += 1
        self._rows, self._values, self._since = [], [], time.monotonic()


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


def _leave_out(filled: Filled, items: Items, faults: dict[int, str]) -> None:
    for row, why in faults.items():
        name = items.called(row)
        filled.left_out[name] = why
        print(f"hashzoo: {name} is left out: {why}", file=sys.stderr)
