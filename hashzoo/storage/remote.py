"""Files below an address of any file system that fsspec knows, such as s3://bucket/prefix.

fsspec is imported only where there is an address. Credentials, endpoints and time limits are the business of its file
systems: they read environment variables, such as AWS_ENDPOINT_URL, and fsspec's own configuration (FSSPEC_S3_...).
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hashzoo.errors import one_line
from hashzoo.storage.files import StorageError, write_error

INSTALL = "run: pip install 'hashzoo[remote]'"
# What file systems call the time of the last change.
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


def is_address(name: str) -> bool:
    """Whether a name is an address, and no path."""
    return "://" in name


@dataclass(frozen=True)
class Listed:
    """What a file system says of a file: bytes, and the time of the last change in seconds since 1970, or 0."""

    size: int
    modified: float


class Remote:
    """The files below an address. Names of files are relative to it: "a/b.json".

    Every fault is a StorageError: exit code 2 where what is asked for is not there, not allowed or not installed, 1
    where it could not be done.
    """

    def __init__(self, address: str):
        protocol, _, place = address.partition("://")
        if not place.strip("/"):
            raise StorageError(f"{address} names no folder; give one such as s3://bucket/prefix")
        self.address = f"{protocol}://{place.rstrip('/')}"
        self._files, self._root = _open(self.address)

    def list(self, below: str = "") -> dict[str, Listed]:
        """All files below the address, or below a folder there."""
        with self._told("listed"):
            self._files.invalidate_cache()  # another machine may have written since
            found = self._files.find(self._path(below) if below else self._root, detail=True)
        start = f"{self._root}/"
        return {
            path.removeprefix(start): Listed(int(about.get("size") or 0), _time(about))
            for path, about in found.items()
            if path.startswith(start)
        }

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        with self._told("read"):
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(name)))

    def get(self, files: Mapping[str, Path]) -> None:
        """Copy files from there into folders that exist, several at a time. What is ended halfway leaves a part."""
        with self._told("read"):
            self._files.get([self._path(name) for name in files], [str(path) for path in files.values()])

    def put(self, files: Mapping[str, Path]) -> None:
        """Copy files there, in any order, over what is there."""
        here, there = [str(path) for path in files.values()], [self._path(name) for name in files]
        with self._told("written to"):
            try:
                self._files.put(here, there)
            except FileNotFoundError:
                # Folders are to be made where they are more than a part of a name; a bucket is not: it is its owner's.
                if not re.match("([A-Za-z]:)?/", self._root):
                    raise
                for folder in {path.rpartition("/")[0] for path in there}:
                    self._files.makedirs(folder, exist_ok=True)
                self._files.put(here, there)

    def remove(self, name: str) -> None:
        """Take a file away."""
        with self._told("written to"):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system has its own
            raise self._fault(done, error) from error

    def _fault(self, done: str, error: Exception) -> StorageError:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename:
            return write_error(Path(error.filename), error)
        if isinstance(error, FileNotFoundError) and done == "read":  # only what was listed is read
            return StorageError(
                f"{self.address} lacks a file that was there a moment ago ({reason}); another machine may have "
                f"replaced it: run the same command again",
                exit_code=1,
            )
        if isinstance(error, FileNotFoundError):
            return StorageError(
                f"{self.address} cannot be {done} ({reason}); make the bucket or folder first, or give another address"
            )
        if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
            return StorageError(
                f"{self.address} may not be {done} ({reason}); check the credentials in the environment"
            )
        return StorageError(
            f"{self.address} cannot be {done} ({one_line(error)}); check network and endpoint, and run again",
            exit_code=1,
        )


def _open(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise StorageError(f"{address} needs fsspec, which is not installed; {INSTALL}") from error
    try:
        files, root = url_to_fs(address)
    except ImportError as error:
        advice = INSTALL if address.startswith("s3") else " ".join(str(error).split())  # the others say it themselves
        raise StorageError(f"{address} needs a package that is not installed; {advice}") from error
    except Exception as error:
        raise StorageError(
            f"{address} cannot be opened ({one_line(error)}); give one such as s3://bucket/prefix"
        ) from error
    return files, root.rstrip("/")


def _time(about: Mapping[str, Any]) -> float:
    value = next((about[name] for name in _TIMES if about.get(name)), 0.0)
    with contextlib.suppress(ValueError):
        value = datetime.fromisoformat(value) if isinstance(value, str) else value
    return value.timestamp() if isinstance(value, datetime) else value if isinstance(value, int | float) else 0.0
