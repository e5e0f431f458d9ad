"""Parts of a collection, encoded wherever a model and the items can be opened, and kept in files until they are wanted.

A part is some hundred items of one modality. Which items lie in one depends on the items alone, so that nothing
depends on who encodes it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hashzoo.benches.workbench import Workbench
from hashzoo.errors import HashzooError
from hashzoo.features.extraction import readable
from hashzoo.inference.items import Items, items_of
from hashzoo.inference.model import Model, load_model
from hashzoo.runners import Watch
from hashzoo.runners.parts import make_part, missing_arrays
from hashzoo.storage.files import digest, read_arrays, write_arrays

GROUP = 8192  # items that become a part of the collection together
PART = 512  # items that are encoded together: so much work is lost by a kill


@dataclass(frozen=True, eq=False)
class Part:
    """Items that are encoded together.

    Attributes:
        number: among all parts, also those that are done.
        role: their modality.
        group: of which collection rows they become a part together with others.
        rows: (n,) of the items, those that are not in the collection.
        name: of the file in which what is encoded waits; another one for other items.
        called: its items in words.
    """

    number: int
    role: str
    group: tuple[str, int]
    rows: np.ndarray
    name: str
    called: str


@dataclass(frozen=True, eq=False)
class Encoded:
    """What came of a part.

    Attributes:
        places: in the part of those items that could be encoded.
        values: (n, bits) float32, their outputs.
        faults: why others have none, by their place.
    """

    places: list[int]
    values: np.ndarray
    faults: Mapping[int, str]

    def write(self, path: Path) -> None:
        """Keep it."""
        why = json.dumps({str(place): reason for place, reason in self.faults.items()}).encode()
        faults = np.frombuffer(why, np.uint8)
        arrays = {"places": np.array(self.places, dtype=np.int64), "values": self.values, "faults": faults}
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Encoded:
        """What was kept."""
        found = read_arrays(path)
        faults = {int(place): why for place, why in json.loads(found["faults"].tobytes()).items()}
        return cls(found["places"].tolist(), found["values"], faults)


class Filler:
    """Encodes parts, for a runner; `told` are arguments of `encode`, and where parts are kept.

    `model` and `items` are those of this process; a worker process opens its own.
    """

    def __init__(self, told: Mapping[str, Any], model: Model | None = None, items: Items | None = None):
        self._told, self._given_model, self._given_items = told, model, items

    @functools.cached_property
    def _model(self) -> Model:
        return self._given_model or load_model(self._told["run"], self._told["device"])

    @functools.cached_property
    def _items(self) -> Items:
        return self._given_items or items_of(self._told["source"], self._told["run"])

    @functools.cached_property
    def _bench(self) -> Workbench:
        assert self._items.dataset is not None, "features are of a data set"
        return Workbench(self._items.dataset, self._model.track(), self._model.device, None, self._told["batch"])

    def do(self, one: dict[str, Any], watch: Watch) -> dict[str, Any]:
        if one["do"] == "fail":
            return {"lost": one["reason"]}
        if one["do"] == "features":
            missing = missing_arrays(self._bench, self._model.recipe, one["roles"])
            return {"arrays": {role: asdict(wanted) for role, wanted in missing.items()}}
        if one["do"] == "part":
            return make_part(self._bench, self._model.recipe, one["role"], one, watch)
        rows = np.array(one["rows"], dtype=np.int64)
        if rows.max() >= len(self._items) or _name_of(self._items, one["role"], rows, self._model) != one["name"]:
            raise HashzooError(
                f"{socket.gethostname()} does not find the items that the command has found in {self._items.name}; let "
                f"nobody change them meanwhile, and run the same command again",
                exit_code=1,
            )
        part = Part(0, one["role"], (one["role"], 0), rows, one["name"], "")
        count = 0

        def advance(more: int) -> None:
            nonlocal count
            count += more
            watch({"rows": count})

        found = encoded_parts(self._model, self._items, [part], self._told["batch"], one["threads"], advance)
        for _, encoded in found:
            encoded.write(Path(self._told["parts"]) / part.name)
        return {"node": socket.gethostname()}


def parts_of(items: Items, roles: Sequence[str], missing: np.ndarray, model: Model) -> list[Part]:
    """The parts that hold a missing item, in their order; which items lie in one depends on the items alone."""
    found, number = [], 0
    for role in roles:
        of_role = np.flatnonzero(items.roles == role)
        for start in range(0, len(of_role), PART):
            rows = of_role[start : start + PART]
            rows = rows[missing[rows]]
            if len(rows):
                first, last = items.called(int(rows[0])), items.called(int(rows[-1]))
                name = _name_of(items, role, rows, model)
                called = f"{role}s {first} to {last}" if len(rows) > 1 else f"{role} {first}"
                found.append(Part(number, role, (role, start // GROUP), rows, name, called))
            number += 1
    return found


def parts_alone(items: Items, part: Part, model: Model) -> list[Part]:
    """Each item of a part as a part of its own."""
    names = [_name_of(items, part.role, row, model) for row in part.rows[:, None]]
    return [replace(part, rows=row, name=name) for row, name in zip(part.rows[:, None], names, strict=True)]


def _name_of(items: Items, role: str, rows: np.ndarray, model: Model) -> str:
    return digest([model.about["key"], role, [items.called(int(row)) for row in rows]])[:24] + ".npz"


def encoded_parts(
    model: Model, items: Items, parts: Sequence[Part], batch: int | None, workers: int | None, advance: Any
) -> Iterator[tuple[Part, Encoded]]:
    """What comes of each part, in their order."""
    found = _from_features if items.dataset is not None else _from_items
    return found(model, items, parts, batch, workers, advance)


def _from_items(
    model: Model, items: Items, parts: Sequence[Part], batch: int | None, workers: int | None, advance: Any
) -> Iterator[tuple[Part, Encoded]]:
    """Outputs of items that are read, prepared and encoded here; towers work in this thread, encoders in others."""
    if not parts:
        return
    role = parts[0].role
    how = replace(model.extraction(role), batch=batch, workers=workers)
    rows = np.concatenate([part.rows for part in parts])
    ends = np.cumsum([len(part.rows) for part in parts]).tolist()
    ranges = [
        range(start, min(start + how.rows, end))
        for begin, end in zip([0, *ends], ends, strict=False)
        for start in range(begin, end, how.rows)
    ]

    def prepare(place: int) -> torch.Tensor:
        return model.prepare(role, items.item(role, int(rows[place])))

    def network(prepared: torch.Tensor) -> torch.Tensor:
        return model.features(role, prepared)

    pieces = readable(ranges, prepare, network, how, one_at_a_time=role == "text")
    with contextlib.closing(pieces):
        for part, end in zip(parts, ends, strict=True):
            begin = end - len(part.rows)
            places: list[int] = []
            faults: dict[int, str] = {}
            values = [np.empty((0, model.bits), dtype=np.float32)]
            for reached, kept, made, failed in pieces:
                if made is not None:
                    values.append(model.outputs(role, made).numpy())
                places += [place - begin for place in kept]
                faults |= {place - begin: why for place, why in failed.items()}
                advance(len(reached))
                if reached.stop == end:
                    break
            yield part, Encoded(places, np.concatenate(values), faults)


def _from_features(
    model: Model, items: Items, parts: Sequence[Part], batch: int | None, workers: int | None, advance: Any
) -> Iterator[tuple[Part, Encoded]]:
    """Outputs of rows of a data set, from its features in the cache; those that are missing there are computed."""
    if not parts:
        return
    assert items.dataset is not None, "that is whom it is for"
    assert items.rows is not None, "that is whom it is for"
    role = parts[0].role
    inputs = Workbench(items.dataset, model.track(), model.device, None, batch).encoded(model.recipe, role).inputs
    for part in parts:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the number of threads decides in which order is summed
        try:
            values = model.outputs_of_rows(role, inputs, items.rows[part.rows])
        finally:
            torch.set_num_threads(threads)
        advance(len(part.rows))
        yield part, Encoded(list(range(len(part.rows))), values, {})
