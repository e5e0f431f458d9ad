"""Cached features that machines share: $HASHZOO_FEATURES is an address, such as s3://bucket/features.

KEY.npy, KEY.json   the files of the cache (see `hashzoo.storage.arrays`). The second holds the digest of the first; it
                    is copied there last and taken away first, so that an entry is complete or absent.

What is shared saves time and nothing else: where the address does not answer that is said, and features are computed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hashzoo.errors import HashzooError
from hashzoo.storage.files import DAMAGED, StorageError, file_digest, read_json, write_error
from hashzoo.storage.remote import Remote, is_address

VARIABLE = "HASHZOO_FEATURES"
_silent: set[str] = set()  # addresses that did not answer this process
_there: set[tuple[str, str]] = set()  # arrays that this process knows to be at an address


def fetch(path: Path, preimage: Mapping[str, Any]) -> None:
    """Copy an array here, to `path` and the .json file beside it, if it is there; a damaged one is taken away there.

    Whoever calls has the lock of the array.
    """
    sidecar = path.with_suffix(".json")
    parts = {file.name: file.with_name(f".{file.name}.part") for file in (path, sidecar)}
    with _asked(preimage) as remote:
        if remote is None or not remote.has(sidecar.name):
            return
        print(f"hashzoo: fetching features from {remote.address}", file=sys.stderr)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remote.get(parts)
            if _whole(parts[path.name], parts[sidecar.name], preimage):
                for file in (path, sidecar):
                    os.replace(parts[file.name], file)
                for begun in (".part", ".journal"):  # by an earlier try to compute it
                    path.with_suffix(begun).unlink(missing_ok=True)
            else:
                print(f"hashzoo: {remote.address}/{path.name} is damaged; computing it again", file=sys.stderr)
                remote.remove(sidecar.name)
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)


def push(path: Path, preimage: Mapping[str, Any]) -> None:
    """Copy an array of this machine there, unless one of its key is there."""
    sidecar = path.with_suffix(".json")
    with _asked(preimage) as remote:
        if remote is None or (remote.address, path.stem) in _there:
            return
        if not remote.has(sidecar.name):
            remote.put({path.name: path})
            remote.put({sidecar.name: sidecar})
        _there.add((remote.address, path.stem))


def store() -> Remote | None:
    """What is at the address; None where no address is given."""
    place = os.environ.get(VARIABLE, "")
    if place and not is_address(place):
        raise StorageError(f"{VARIABLE} is an address such as s3://bucket/features, not '{place}'")
    return _open(place) if place else None


@contextlib.contextmanager
def _asked(preimage: Mapping[str, Any]) -> Iterator[Remote | None]:
    """The address for an array, if it has one. What fails there is said once, and nothing more is asked of it.

    What a network is given that is trained along ("prepared") is larger than the pictures, and is not shared.
    """
    found = store() if preimage.get("kind") != "prepared" else None
    if found is None or found.address in _silent:
        yield None
        return
    try:
        yield found
    except StorageError as error:
        _silent.add(found.address)
        print(f"hashzoo: {error}; until then features are not shared", file=sys.stderr)


@functools.cache
def _open(place: str) -> Remote:
    return Remote(place)


def _whole(array: Path, sidecar: Path, preimage: Mapping[str, Any]) -> bool:
    """Whether it is the array that belongs to `preimage`, as far as it can be said without computing it."""
    import numpy as np

    try:
        about = read_json(sidecar)
        if about["preimage"] != preimage or about["sha256"] != file_digest(array):
            return False
        return len(np.load(array, mmap_mode="r", allow_pickle=False)) == preimage["rows"]
    except (HashzooError, *DAMAGED):
        return False
