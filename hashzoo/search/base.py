"""What an index is: codes under ids, added, replaced and removed, searched by Hamming distance, kept in a folder."""

from __future__ import annotations

import operator
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from filelock import FileLock

from hashzoo.codes import MAX_BITS, Codes
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest, file_digest, read_json, write_error, write_json

FORMAT = 1  # of a stored index
DESCRIPTION = "hashzoo-index.json"  # written last; it names the folder with the content
CONTENT = "content-"  # each save fills a new folder of which this is the beginning of the name
NOTHING = -1  # id and distance where a query has fewer than k hits


@dataclass(frozen=True, eq=False)
class Hits:
    """What a search found, nearest first; where a query has fewer than k hits, its row ends in -1 and -1.

    Attributes:
        ids: (Q, k) int64.
        distances: (Q, k) int32, Hamming distances in bits.
    """

    ids: np.ndarray
    distances: np.ndarray


class Index(ABC):
    """Codes of one length under ids of the caller's choice.

    Constructor keywords after `bits` are the index's settings, plain JSON values; a subclass hands them to this
    constructor, so that `load` can give them again. Its methods with a leading underscore get arguments that were
    checked here: int64 ids that are distinct and not negative, and codes of the right length.

    Searches may run side by side. A call of `add` or `remove` must be alone, unless the index says otherwise.
    All calls raise HashzooError on bad arguments, and then leave the index as it was. Arguments are neither changed
    nor kept.

    Attributes:
        kind: the name under which the index is registered; a stored index is of the same kind as its class.
        exact: whether every search finds the k nearest, and of those at one distance the ones with the smallest ids.
        bits: code length, 1 to 4096.
        settings: what the constructor got after `bits`.
    """

    kind: ClassVar[str]
    exact: ClassVar[bool] = False

    def __init__(self, bits: int, **settings: Any):
        if not is_whole(bits) or not 1 <= bits <= MAX_BITS:
            raise HashzooError(f"an index holds codes of 1 to {MAX_BITS} bits, not {bits!r}; give a number of bits")
        self.bits = int(bits)
        self.settings = settings

    def add(self, codes: Codes, ids: Any) -> None:
        """Store n codes under n ids (whole numbers from 0, each once); a code whose id is present is replaced."""
        self._check_codes(codes)
        numbers = checked_ids(ids)
        if len(numbers) != len(codes):
            raise HashzooError(f"{len(codes)} codes came with {len(numbers)} ids; give each code one id")
        if len(numbers):
            self._add(codes, numbers)

    def remove(self, ids: Any) -> None:
        """Take n codes out, by their ids; if one of them is not in the index, none is removed."""
        numbers = checked_ids(ids)
        unknown = numbers[~self._contains(numbers)]
        if len(unknown):
            more = f" and {len(unknown) - 1} more are" if len(unknown) > 1 else " is"
            raise HashzooError(f"id {unknown[0]}{more} not in the index, so nothing was removed; leave unknown ids out")
        if len(numbers):
            self._remove(numbers)

    def contains(self, ids: Any) -> np.ndarray:
        """(n,) bool: which of n ids are in the index."""
        return self._contains(checked_ids(ids))

    def search(self, queries: Codes, k: int) -> Hits:
        """The k nearest codes of each of Q queries; an empty index finds nothing."""
        self._check_codes(queries)
        if not is_whole(k) or k < 1:
            raise HashzooError(f"k, the number of hits for a query, is a whole number from 1, not {k!r}; give another")
        shape = (len(queries), int(k))
        hits = Hits(np.full(shape, NOTHING, dtype=np.int64), np.full(shape, NOTHING, dtype=np.int32))
        size = len(self)
        if len(queries) and size:
            found = self._search(queries, min(int(k), size))
            hits.ids[:, : found.ids.shape[1]] = found.ids
            hits.distances[:, : found.distances.shape[1]] = found.distances
        return hits

    def save(self, folder: Path | str) -> None:
        """Write the index to a folder of its own, new or empty or with an index, which is then replaced.

        Whoever loads the folder, whenever a save is killed, finds one index or the other. Processes that save to
        one folder wait for each other.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            foreign = [path.name for path in folder.iterdir() if not path.name.startswith((".", DESCRIPTION, CONTENT))]
            if foreign:
                raise HashzooError(f"{folder} holds {foreign[0]}, no part of an index; give a new or an empty folder")
            with FileLock(folder / ".lock"):
                self._save(folder)
        except OSError as error:
            raise write_error(folder / DESCRIPTION, error) from error

    def _save(self, folder: Path) -> None:
        content = folder / f"{CONTENT}{secrets.token_hex(8)}"
        try:
            content.mkdir()
            self._write(content)
            files = sorted(content.iterdir())
            for path in files:
                _flush(path)
            description = {
                "format": FORMAT,
                "kind": self.kind,
                "bits": self.bits,
                "settings": self.settings,
                "codes": len(self),
                "content": content.name,
                "files": {path.name: file_digest(path) for path in files},
            }
            write_json(folder / DESCRIPTION, description | {"digest": digest(description)})
        except BaseException:
            shutil.rmtree(content, ignore_errors=True)
            raise
        for other in folder.glob(f"{CONTENT}*"):
            if other != content:
                shutil.rmtree(other, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote: an index that answers identically. A damaged or foreign folder is an error."""
        folder = Path(folder)
        while True:
            description = cls._describe(folder)
            try:
                return cls._load(folder, description)
            except (HashzooError, OSError, ValueError, TypeError, KeyError, EOFError) as error:
                if cls._describe(folder) == description:  # else it was replaced while it was read
                    raise HashzooError(
                        f"the index in {folder} is damaged ({error}); delete the folder and build the index again",
                        exit_code=1,
                    ) from error

    @classmethod
    def _describe(cls, folder: Path) -> dict[str, Any]:
        """The description of a stored index, if it is whole and of this kind."""
        path = folder / DESCRIPTION
        if not path.is_file():
            raise HashzooError(f"there is no index in {folder}; give a folder that an index was saved to")
        description = read_json(path)
        if not isinstance(description, dict) or not {"format", "kind", "digest"} <= description.keys():
            raise HashzooError(f"{path} was not written by an index; give a folder that an index was saved to")
        if description["format"] != FORMAT:
            raise HashzooError(
                f"the index in {folder} has format {description['format']}, this hashzoo reads {FORMAT}; "
                f"build the index again"
            )
        if description["kind"] != cls.kind:
            raise HashzooError(
                f"the index in {folder} is of the kind '{description['kind']}', not '{cls.kind}'; load it as such"
            )
        return description

    @classmethod
    def _load(cls, folder: Path, description: dict[str, Any]) -> Self:
        if digest({key: value for key, value in description.items() if key != "digest"}) != description["digest"]:
            raise ValueError(f"{DESCRIPTION} does not match its digest")
        content = folder / description["content"]
        for name, wanted in description["files"].items():
            if file_digest(content / name) != wanted:
                raise ValueError(f"{name} does not match its digest")
        index = cls(description["bits"], **description["settings"])
        index._read(content)
        if len(index) != description["codes"]:
            raise ValueError(f"it holds {len(index)} codes instead of {description['codes']}")
        return index

    def _check_codes(self, codes: Codes) -> None:
        if not isinstance(codes, Codes):
            raise HashzooError(
                f"an index takes packed codes, not {type(codes).__name__}; make them with hashzoo.pack(values)"
            )
        if codes.bits != self.bits:
            raise HashzooError(
                f"the index holds codes of {self.bits} bits, these have {codes.bits}; encode both with one model"
            )

    @abstractmethod
    def __len__(self) -> int:
        """Number of codes."""

    @abstractmethod
    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        """`add`, of at least one code."""

    @abstractmethod
    def _remove(self, ids: np.ndarray) -> None:
        """`remove`, of at least one id; all are in the index."""

    @abstractmethod
    def _contains(self, ids: np.ndarray) -> np.ndarray:
        """`contains`."""

    @abstractmethod
    def _search(self, queries: Codes, k: int) -> Hits:
        """`search`, of at least one query; k is at most the number of codes. The hits may have fewer columns."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the content to an empty folder, as files without subfolders and without pickles."""

    @abstractmethod
    def _read(self, folder: Path) -> None:
        """Take the content from a folder that `_write` filled, into an index that was just constructed."""


def checked_ids(ids: Any) -> np.ndarray:
    """(n,) int64, after checking that ids are whole numbers from 0, each once."""
    try:
        array = np.asarray(ids)
    except ValueError:  # rows of unequal length
        array = np.empty((0, 0))
    if array.ndim == 1 and not array.size:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise HashzooError(
            f"ids are a 1-D array of whole numbers, not {array.ndim}-D {array.dtype}; numpy.arange(n) numbers n codes"
        )
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        raise HashzooError("ids are from 0 to 2^63 - 1; give each code a number in this range")
    numbers = np.sort(array.astype(np.int64))
    twice = numbers[1:][numbers[1:] == numbers[:-1]]
    if len(twice):
        raise HashzooError(f"id {twice[0]} is given twice in one call; give each id once")
    return array.astype(np.int64, copy=False)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or of numpy."""
    if isinstance(value, bool | np.bool_):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
