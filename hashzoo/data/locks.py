"""One process at a time where files are made."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hashzoo.storage.files import write_error


@contextlib.contextmanager
def alone(folder: Path, name: str = ".lock", waiting: str = "") -> Iterator[None]:
    """Let one process at a time work in a folder; the lock of a killed process is gone with it.

    `waiting` is said on stderr where another process has the lock.
    """
    lock = FileLock(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=not waiting)
        except Timeout:
            print(f"hashzoo: {waiting}", file=sys.stderr, flush=True)
            lock.acquire()
    except OSError as error:
        raise write_error(folder / name, error) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def free(folder: Path, name: str) -> Iterator[bool]:
    """As `alone`, but without waiting: whether no other process has the lock, and this one has it for the block."""
    lock = FileLock(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        pass
    except OSError as error:
        raise write_error(folder / name, error) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()
