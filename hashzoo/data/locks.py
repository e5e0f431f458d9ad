"""One process at a time where files are made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from hashzoo.storage import write_error


@contextlib.contextmanager
def alone(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Let one process at a time work in a folder; the lock of a killed process is gone with it."""
    lock = FileLock(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise write_error(folder / name, error) from error
    try:
        yield
    finally:
        lock.release()
