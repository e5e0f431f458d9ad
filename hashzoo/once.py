"""What several cells of a bench would compute alike, computed once: `Job.once`.

A closed form passes over the features in the same way for every code length, and the students of a sweep have one
teacher. What a function gave is taken again where all that it looked at is the same. That is noted while it runs: what
of its job differs from cell to cell, which settings of its trainer it read, and whether it drew random numbers. So a
cell gets what it gets alone, to the bit.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from hashzoo.train import Job, Rows

MOST_BYTES = 2**30  # that are kept for further cells
PLAIN = bool | int | float | str | None


@dataclass(eq=False)
class Entry:
    """What a function gave, and for which cells it is the same.

    Attributes:
        name: of the function, for messages.
        of_job: what it looked at of that which differs from cell to cell, by member of its job.
        of_owner: of a method the settings that it read, by attribute of its object.
        before, after: the states of all generators, if it drew from one; otherwise None.
        lines: what it logged.
        seconds: that it takes in a cell that is alone.
    """

    name: str
    value: Any
    of_job: Mapping[str, Any]
    of_owner: Mapping[str, Any]
    before: list[bytes] | None
    after: list[Any] | None
    lines: list[dict[str, Any]]
    seconds: float

    def __post_init__(self) -> None:
        self.bytes = bytes_held(self.value)
        for array in held(self.value):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        self._versions = self._now()

    def fits(self, differing: Mapping[str, Any], owner: object, states: list[bytes]) -> bool:
        """Whether a cell of such a job, with such a trainer, its generators in such states, would compute the same."""
        return (
            all(differing[name] == value for name, value in self.of_job.items())
            and all(getattr(owner, name) == value for name, value in self.of_owner.items())
            and self.before in (None, states)
        )

    def changed(self) -> bool:
        """Whether a tensor was changed since."""
        return self._now() != self._versions

    def _now(self) -> list[int]:
        # torch counts the changes of a tensor in place, for its own checks of gradients.
        return [x._version for x in held(self.value) if isinstance(x, Tensor) and not x.is_inference()]


class Memo:
    """What is kept for the cells of one bench: the newest, up to `most` bytes of tensors and arrays."""

    def __init__(self, most: int = MOST_BYTES):
        self.most = most
        self._kept: list[tuple[str, Entry]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: str, fits: Callable[[Entry], bool]) -> Entry | None:
        """The entry of a key that fits, which becomes the newest."""
        for place, (known, entry) in enumerate(self._kept):
            if known == key and fits(entry):
                self._kept.append(self._kept.pop(place))
                return entry
        return None

    def keep(self, key: str, entry: Entry) -> None:
        if entry.bytes > self.most:
            return
        self._kept.append((key, entry))
        while sum(kept.bytes for _, kept in self._kept) > self.most:
            self._kept.pop(0)

    def check(self) -> None:
        """Raise where an entry was changed, and let it go: other cells would take over what one has made of it."""
        changed = [kept for kept in self._kept if kept[1].changed()]
        if changed:
            self._kept = [kept for kept in self._kept if kept not in changed]
            raise HashzooError(
                f"what job.once({changed[0][1].name}, ...) gave is for all cells, and the trainer has changed it; "
                f"let it change a copy",
                exit_code=1,
            )


@dataclass
class Common:
    """What one cell has in common with others.

    Attributes:
        memo: of all cells.
        rows: the training rows; with others nothing is in common.
        scope: of what its entries are: the data, the encoders, the threads.
        differing: what of a job differs from cell to cell, by the name of the member: equal where that is the same.
        seconds: that other cells took for what this one has taken over.
    """

    memo: Memo
    rows: Rows
    scope: str
    differing: Mapping[str, Any]
    seconds: float = 0.0

    def take(self, job: Job, function: Callable[..., Any], settings: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the function gives for a job and settings, from another cell if that is the same."""
        owner = getattr(function, "__self__", None)
        name = f"{function.__module__}.{function.__qualname__}"
        key = digest([self.scope, name, f"{owner.__class__}", settings, named])
        generators = list(_generators(job))
        before = [_bytes(read()) for read, _ in generators]
        found = self.memo.find(key, lambda entry: entry.fits(self.differing, owner, before))
        if found is not None:
            self.seconds += found.seconds
            for line in found.lines:
                job.log(**line)
            for member in found.of_job:
                getattr(job, member)  # a function around this one has now looked at it, too
            for (_, write), state in zip(generators, found.after or (), strict=False):
                write(state)
            return found.value
        noting, start, taken = _NotingJob(job, self), time.perf_counter(), self.seconds
        of_owner: dict[str, Any] = {}
        if isinstance(function, MethodType):
            function = MethodType(function.__func__, _NotingOwner(owner, of_owner))
        value = function(noting, *settings, **named)
        seconds = time.perf_counter() - start + self.seconds - taken
        after = [read() for read, _ in generators]
        drew = [_bytes(state) for state in after] != before
        of_job = {member: self.differing[member] for member in noting._seen}
        states = before if drew else None, after if drew else None
        self.memo.keep(key, Entry(name, value, of_job, of_owner, *states, lines=noting._lines, seconds=seconds))
        return value


class _NotingJob:
    """A job that notes what was looked at of that which differs from cell to cell, and what was logged."""

    def __init__(self, job: Job, common: Common):
        self._job, self._common = job, common
        self._seen: set[str] = set()
        self._lines: list[dict[str, Any]] = []

    def __getattr__(self, member: str) -> Any:
        if member in self._common.differing:
            self._seen.add(member)
        return getattr(self._job, member)

    def log(self, **line: Any) -> None:
        self._lines.append(line)
        self._job.log(**line)

    def once(self, function: Callable[..., Any], *settings: Any, **named: Any) -> Any:
        check_function(function)
        return self._common.take(self, function, settings, named)  # type: ignore[arg-type]


class _NotingOwner:
    """An object whose methods run as ever, and which notes what they read of its attributes."""

    def __init__(self, owner: object, read: dict[str, Any]):
        object.__setattr__(self, "_owner", owner)
        object.__setattr__(self, "_read", read)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # which isinstance and super() go by
        return self._owner.__class__

    def __getattr__(self, name: str) -> Any:
        kind = self._owner.__class__
        if name not in _attributes(self._owner) and hasattr(kind, name):
            found = inspect.getattr_static(kind, name)
            return found.__get__(self, kind) if hasattr(found, "__get__") else found
        value = getattr(self._owner, name)
        self._read[name] = value if isinstance(value, PLAIN) else object()  # of others nobody knows what they depend on
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"what job.once computes is for all cells and must not set {name} of one trainer; return it")


def _attributes(owner: Any) -> Mapping[str, Any]:
    return _attributes(owner._owner) if type(owner) is _NotingOwner else getattr(owner, "__dict__", {})


def check_function(function: Callable[..., Any]) -> None:
    """Raise unless it is a function of a module or a method: of others nobody knows on what they depend.

    Raises:
        TypeError: it is a lambda, a function inside another, or no function.
    """
    name = getattr(function, "__qualname__", "")
    method = isinstance(function, MethodType) and not inspect.isclass(function.__self__)
    if "<" in name or not (method or name.isidentifier()):
        raise TypeError(f"job.once takes a method or a function of a module, not {name or function!r}")


def held(thing: object) -> Iterator[Tensor | np.ndarray]:
    """All tensors and arrays that an object holds, in attributes and collections, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [thing]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor | np.ndarray):
            yield thing
        elif isinstance(thing, Mapping):
            waiting.extend(thing.values())
        elif isinstance(thing, list | tuple | set | frozenset):
            waiting.extend(thing)
        elif isinstance(thing, nn.Module) or (hasattr(thing, "__dict__") and not callable(thing)):
            waiting.extend(vars(thing).values())


def bytes_held(thing: object) -> int:
    """Bytes of all tensors and arrays that an object holds, each memory once."""
    memories: dict[int, int] = {}
    for array in held(thing):
        if isinstance(array, Tensor):
            storage = array.untyped_storage()
            memories[storage.data_ptr()] = storage.nbytes()
            continue
        while isinstance(array.base, np.ndarray):
            array = array.base
        memories[array.ctypes.data] = array.nbytes
    return sum(memories.values())


def _generators(job: Job) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How the state of each generator that a trainer may draw from is read and set."""
    yield job.generator.get_state, job.generator.set_state
    yield torch.get_rng_state, torch.set_rng_state
    if job.device.type == "cuda":
        device = job.device
        yield lambda: torch.cuda.get_rng_state(device), lambda state: torch.cuda.set_rng_state(state, device)
    yield random.getstate, random.setstate
    yield np.random.get_state, np.random.set_state


def _bytes(state: Any) -> bytes:
    """The state of a generator, so that equal ones are equal."""
    if isinstance(state, tuple):
        return b" ".join(map(_bytes, state))
    if isinstance(state, Tensor | np.ndarray):
        return np.asarray(state).tobytes()
    return repr(state).encode()
