"""Prepared data sets: one folder with labels, texts, splits, and where each picture lies, whatever it was made from.

manifest.json        name, class names, licence, where it came from, digests of the files; written last
labels.npy           (N, C) bool
splits.npz           row numbers: train, val, query, database
texts.jsonl          one JSON string a row (where rows have texts)
images.jsonl         one path a row, relative to the manifest's `image_root` (where rows have pictures)
groups.npy           (N,) int64, equal for rows that belong together (where some do)
image_digests.npy    (N, 32) uint8, SHA-256 of each picture file
image_features.npy   (N, dim) float32 or float16 (where a data set brings features instead of pictures)
text_features.npy    likewise
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.data.base import Dataset, Splits
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import (
    DAMAGED,
    atomic_write,
    digest,
    file_digest,
    read_arrays,
    read_json,
    write_arrays,
    write_error,
    write_json,
)
from hashzoo.storage.shapes import ANY, LINE, Each, Fields, ListOf, Number, check

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA = 1
ROLES = ("image", "text")
SPLITS = ("train", "val", "query", "database")
# What a manifest holds.
SHAPE = Fields(
    {
        **{"schema": Number(SCHEMA, SCHEMA), "name": LINE, "classes": ListOf(str), "rule": str, "licence": str},
        **{"image_root": (None, str), "source": Each(ANY), "files": Each(LINE)},
    }
)
NEW = ".new"  # a folder of files that are being written
BLOCK = 4096  # files that wait to be read, rows that are looked at


@dataclass
class Rows:
    """The content of a data set on its way into a folder. At least pictures or features, and texts or features.

    Attributes:
        classes: C names.
        labels: (N, C) bool.
        splits: row numbers and their rule.
        images: a path a row, relative to `image_root`.
        image_root: the folder that holds the pictures; it stays where it is.
        texts: a string a row.
        image_digests: (N, 32) uint8, SHA-256 of each picture file, where they are known already.
        features: (N, dim) float arrays by modality, "image" or "text", that stand in for raw items.
        source: what it was made from, as plain JSON: archive names, digests, versions.
        groups: (N,) ints, equal for rows that belong together; None where every row stands for itself.
    """

    classes: Sequence[str]
    labels: np.ndarray
    splits: Splits
    images: Sequence[str] | None = None
    image_root: Path | None = None
    texts: Sequence[str] | None = None
    image_digests: np.ndarray | None = None
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    groups: np.ndarray | None = None

    def check(self) -> None:
        """Raise one sentence if the parts do not fit together."""
        lengths = {"labels": len(self.labels)}
        lengths |= {
            name: len(part) for name in ("images", "texts", "groups") if (part := getattr(self, name)) is not None
        }
        lengths |= {f"{role} features": len(array) for role, array in self.features.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{count} {name}" for name, count in lengths.items())
            raise HashzooError(f"the parts have different numbers of rows ({counts}); each row needs one of each")
        for role, items in (("image", self.images), ("text", self.texts)):
            if items is None and role not in self.features:
                raise HashzooError(f"rows have neither {role}s nor {role} features; give one of them")
        for role, array in self.features.items():
            if array.ndim != 2 or array.dtype.kind != "f":
                raise HashzooError(f"{role} features must be a 2-D array of floats, not {array.ndim}-D {array.dtype}")
            if not all(np.isfinite(array[start : start + BLOCK]).all() for start in range(0, len(array), BLOCK)):
                raise HashzooError(f"{role} features hold values that are not finite; mend or leave out those rows")


def write_prepared(folder: Path, name: str, rows: Rows, licence: str, allow_overlap: bool = False) -> None:
    """Store rows as a prepared data set. What was in `folder` is replaced only when all of it is written.

    Args:
        folder: of this data set and protocol alone.
        name: what the user types ("mirflickr25k/dcmh").
        rows: the content.
        licence: who made the data, under which terms.
        allow_overlap: store splits of which query rows leak: whoever uses them is asked again.
    """
    rows.check()
    rows.splits.check(len(rows.labels), allow_overlap)
    try:
        _write(folder, folder / NEW, name, rows, licence)
    except OSError as error:
        raise write_error(folder / "manifest.json", error) from error
    finally:
        shutil.rmtree(folder / NEW, ignore_errors=True)


def _write(folder: Path, new: Path, name: str, rows: Rows, licence: str) -> None:
    """Write all files into `new`, and when they are whole put them in place; the manifest comes last."""
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    _save(new / "labels.npy", np.ascontiguousarray(rows.labels, dtype=np.bool_))
    write_arrays(new / "splits.npz", {name: getattr(rows.splits, name) for name in SPLITS})
    files = ["labels.npy", "splits.npz"]
    if rows.groups is not None:
        _save(new / "groups.npy", np.ascontiguousarray(rows.groups, dtype=np.int64))
        files.append("groups.npy")
    if rows.texts is not None:
        _save_lines(new / "texts.jsonl", rows.texts)
        files.append("texts.jsonl")
    if rows.images is not None:
        assert rows.image_root is not None, "paths of pictures are relative to image_root"
        _save_lines(new / "images.jsonl", rows.images)
        known = rows.image_digests
        digests = file_digests(rows.image_root, rows.images, name) if known is None else known
        _save(new / "image_digests.npy", digests)
        files += ["images.jsonl", "image_digests.npy"]
    for role, array in rows.features.items():
        _save(new / f"{role}_features.npy", np.ascontiguousarray(array))
        files.append(f"{role}_features.npy")
    about = {
        "schema": SCHEMA,
        "name": name,
        "classes": list(rows.classes),
        "rule": rows.splits.rule,
        "licence": licence,
        "image_root": str(rows.image_root) if rows.image_root is not None else None,
        "source": dict(rows.source),
        "files": {file: file_digest(new / file) for file in files},
    }
    (folder / "manifest.json").unlink(missing_ok=True)
    for file in files:
        os.replace(new / file, folder / file)
    write_json(folder / "manifest.json", about)


class Prepared(Dataset):
    """A data set that was stored by `write_prepared`.

    Args:
        folder: that holds its manifest.
        how: the command that prepares it, for messages ("hashzoo datasets prepare wiki").
    """

    def __init__(self, folder: Path, how: str):
        self.folder, self._how = folder, how
        manifest = self._read_manifest()
        self.name, self.classes, self.licence = manifest["name"], tuple(manifest["classes"]), manifest["licence"]
        self.manifest = manifest
        self.labels = self._load("labels.npy")
        if self.labels.shape[1:] != (len(self.classes),) or self.labels.dtype != np.bool_:
            raise self._damaged(folder / "labels.npy")
        arrays = read_arrays(folder / "splits.npz")
        if set(arrays) != set(SPLITS) or any(rows.ndim != 1 or rows.dtype.kind != "i" for rows in arrays.values()):
            raise self._damaged(folder / "splits.npz")
        self.splits = Splits(**arrays, rule=manifest["rule"])
        self.groups = self._load("groups.npy") if "groups.npy" in manifest["files"] else None
        self.features = {
            role: self._load(f"{role}_features.npy") for role in ROLES if f"{role}_features.npy" in manifest["files"]
        }
        for role, array in self.features.items():
            if array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(self.labels):
                raise self._damaged(folder / f"{role}_features.npy")
        self._texts = self._lines("texts.jsonl")
        self._images = self._lines("images.jsonl")
        self._root = Path(manifest["image_root"]) if manifest["image_root"] else None
        there = {"image": self._images, "text": self._texts}
        self.raw = frozenset(role for role, items in there.items() if items is not None)

    def image(self, row: int) -> Image:
        from hashzoo.data.pictures import open_picture

        if self._images is None or self._root is None:
            raise HashzooError(f"'{self.name}' has no pictures, only their features; type --encoders given")
        return open_picture(self._root / self._images[row])

    def text(self, row: int) -> str:
        if self._texts is None:
            raise HashzooError(f"'{self.name}' has no texts, only their features; type --encoders given")
        return self._texts[row]

    def fingerprint(self) -> str:
        """Digest of the digests of the stored files (pictures by the SHA-256 of each file); splits have their own."""
        left_out = ("splits.npz", "groups.npy", "images.jsonl")
        content = {file: sha for file, sha in self.manifest["files"].items() if file not in left_out}
        return digest([list(self.classes), content])

    def picture_digests(self) -> np.ndarray | None:
        return None if self._images is None else self._load("image_digests.npy")

    def verify(self) -> None:
        """Read every stored byte, pictures too; raise a sentence that names the first file that has changed."""
        for file, sha in self.manifest["files"].items():
            if file_digest(self.folder / file) != sha:
                raise self._damaged(self.folder / file)
        if self._images is not None and self._root is not None:
            found = file_digests(self._root, self._images, self.name)
            changed = np.flatnonzero((found != self._load("image_digests.npy")).any(axis=1))
            if len(changed):
                raise self._damaged(self._root / self._images[changed[0]])

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        if not path.exists():
            raise HashzooError(f"it is not prepared yet: type {self._how}")
        try:
            manifest = read_json(path)
            check(manifest, SHAPE)
        except (HashzooError, ValueError) as error:
            raise self._damaged(path) from error
        if any(Path(file).name != file for file in manifest["files"]):
            raise self._damaged(path)
        return dict(manifest)

    def _load(self, file: str) -> np.ndarray:
        try:
            return np.load(self.folder / file, mmap_mode="r", allow_pickle=False)
        except DAMAGED:
            raise self._damaged(self.folder / file) from None

    def _lines(self, file: str) -> list[str] | None:
        if file not in self.manifest["files"]:
            return None
        try:
            with open(self.folder / file, encoding="utf-8") as lines:
                found = [json.loads(line) for line in lines]
        except (OSError, ValueError, RecursionError):
            raise self._damaged(self.folder / file) from None
        if len(found) != len(self.labels) or not all(isinstance(one, str) for one in found):
            raise self._damaged(self.folder / file)
        return found

    def _damaged(self, path: Path) -> HashzooError:
        return HashzooError(f"{path} is not what was prepared: type {self._how}", exit_code=1)


def file_digests(root: Path, files: Sequence[str], name: str) -> np.ndarray:
    """(N, 32) uint8: SHA-256 of each file, read side by side; a file that is missing is an error that names it."""

    def one(file: str) -> bytes:
        try:
            with open(root / file, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            reason = error.strerror or error
            raise HashzooError(f"{root / file} cannot be read ({reason}); it belongs to '{name}'") from error

    found = np.empty((len(files), 32), dtype=np.uint8)
    with ThreadPoolExecutor() as pool, progress(f"reading {name}", len(files), "pictures") as advance:
        for start in range(0, len(files), BLOCK):  # a pool holds a large object for each file that it is given
            for row, sha in enumerate(pool.map(one, files[start : start + BLOCK]), start):
                found[row] = np.frombuffer(sha, dtype=np.uint8)
                advance(1)
    return found


def discard(folder: Path) -> None:
    """Remove a prepared data set; its pictures stay where they are."""
    (folder / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_write(path) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def _save_lines(path: Path, items: Iterable[str]) -> None:
    with atomic_write(path, "w") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
