"""One task after another, in this process."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashzoo.runners import Doer, Kind, Task, Tell


class Local:
    """Works here; a task that ends its process ends the command."""

    name = "local"
    jobs: int | None = 1

    @contextlib.contextmanager
    def workers(self, kind: Kind) -> Iterator[_Here]:
        yield _Here(kind.here())

    def gpu(self, device: str) -> bool:
        return False


class _Here:
    def __init__(self, doer: Doer):
        self._doer = doer

    def do(self, tasks: Mapping[int, Task], tell: Tell, held: bool = False) -> None:
        for number, task in tasks.items():
            tell("start", number, {})
            tell("done", number, self._doer.do(dict(task.words), functools.partial(tell, "epoch", number)) or {})
