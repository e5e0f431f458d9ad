"""Features that were computed elsewhere: a folder that is carried from the machine with the GPU to any other.

manifest.json       what the features are of and from: written last
image.npy           (N, dim) float32 or float16, row i of the data set in row i
text.npy            likewise; either may be missing
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.encoders.lookup import Lookup
from hashzoo.errors import HashzooError
from hashzoo.storage.arrays import ROWS_AT_ONCE, file_sha256, take, write_array
from hashzoo.storage.files import archive_folder, atomic_write, cache_dir, canonical_json, read_json, write_json

if TYPE_CHECKING:
    from hashzoo.data import Dataset

SCHEMA = 1
KIND = "hashzoo features"
BEGUN = ".begun"  # an empty file, until the archive is whole
ROLES = ("image", "text")
DTYPES = ("float32", "float16")
MAX_DIM = 1_000_000


class Archive(Lookup):
    """The features of one modality in a folder that `write_archive` (or `hashzoo features export`) has made.

    Every byte is compared with the manifest's digest before it is used; nothing in the folder is run or unpickled.

    Args:
        folder: path of the archive, or the name under which it was imported.
        modality: "image" or "text".
    """

    def __init__(self, folder: str = "", *, modality: str):
        super().__init__()
        if not folder:
            raise HashzooError("encoder 'archive' needs a folder; type for example archive:FOLDER")
        self.modality, self.folder = modality, archive_folder(folder)
        self._about = read_manifest(self.folder)
        parts = self._about["modalities"]
        if modality not in parts:
            there = " and ".join(parts)
            other = f"archive:{folder}+minilm" if "image" in parts else f"lite0+archive:{folder}"
            raise HashzooError(f"{folder} holds {there} features only; write both encoders, such as {other}")
        self._part = parts[modality]
        self.dim = self._part["shape"][1]

    def open(self, dataset: Dataset) -> np.ndarray:
        if self._about["rows"] != len(dataset):
            raise HashzooError(
                f"{self.folder} has features of {self._about['rows']} rows and '{dataset.name}' has {len(dataset)}; "
                f"{self._elsewhere(dataset)}"
            )
        if self._about["fingerprint"] != dataset.fingerprint():
            raise HashzooError(
                f"{self.folder} has features of another '{self._about['dataset']}', whose content differs from "
                f"'{dataset.name}' here; {self._elsewhere(dataset)}"
            )
        return open_part(self.folder, self.modality, self._part)

    def card(self) -> dict[str, Any]:
        """The card of the encoder that made them, where they came from, and what they are."""
        content = {name: self._part[name] for name in ("dtype", "sha256")}
        return {"encoder": "archive", "dim": self.dim, **content, "of": self._part["card"]} | (
            {"weights": "random"} if self._part["card"].get("weights") == "random" else {}
        )

    def _elsewhere(self, dataset: Dataset) -> str:
        return (
            f"export it again where the data are the same: hashzoo features export --dataset {dataset.name} --out ..."
        )


def write_archive(
    folder: Path, dataset: Dataset, features: Mapping[str, np.ndarray], cards: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put features of all rows of a data set into a folder that does not exist yet, or is empty.

    Args:
        folder: is created; one that a killed call has begun is gone on with.
        dataset: that the features are of, in the order of its rows.
        features: (N, dim) float32 or float16, by modality ("image", "text" or both); finite.
        cards: what made them, as plain JSON, by modality: at least the architecture and what identifies the weights.
    """
    folder = Path(folder)
    check_new(folder)
    if not features or set(features) - set(ROLES) or set(features) != set(cards):
        raise HashzooError("an archive has features and a card of image, text or both; give both for each of them")
    for role, array in features.items():
        if array.ndim != 2 or array.dtype.name not in DTYPES or len(array) != len(dataset) or not array.shape[1]:
            raise HashzooError(
                f"{role} features are ({len(dataset)}, dim) float32 or float16, not {array.shape} {array.dtype}; "
                f"convert them first"
            )
        _check_finite(array, f"the {role} features")
        canonical_json(cards[role])
    with atomic_write(folder / BEGUN):
        pass
    for left in folder.glob(".*.part"):  # by a process that was killed
        left.unlink()
    for role, array in features.items():
        write_array(folder / f"{role}.npy", array)
    write_json(
        folder / "manifest.json",
        {
            "schema": SCHEMA,
            "kind": KIND,
            "dataset": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "rows": len(dataset),
            "modalities": {
                role: {
                    "dtype": array.dtype.name,
                    "shape": list(array.shape),
                    "size": (folder / f"{role}.npy").stat().st_size,
                    "sha256": file_sha256(folder / f"{role}.npy"),
                    "card": dict(cards[role]),
                }
                for role, array in features.items()
            },
        },
    )
    (folder / BEGUN).unlink()


def check_new(folder: Path) -> None:
    """Raise unless a folder does not exist, is empty, or was begun by a `write_archive` that was killed."""
    begun = (folder / BEGUN).exists()
    if folder.exists() and not begun and (not folder.is_dir() or any(folder.iterdir())):
        raise HashzooError(f"{folder} exists already; give a new folder")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an archive, with every field of the kind that it should be, or one sentence."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise HashzooError(f"{folder} is no archive of features (it has no manifest.json); see hashzoo features export")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise HashzooError(f"{path} is not of an archive of features; see hashzoo features export")
    if manifest.get("schema") != SCHEMA:
        raise HashzooError(f"{path} has schema {manifest.get('schema')!r} and this hashzoo reads {SCHEMA}; update it")
    parts = manifest.get("modalities")
    sound = (
        _is_count(manifest.get("rows"))
        and all(isinstance(manifest.get(name), str) for name in ("dataset", "fingerprint"))
        and isinstance(parts, dict)
        and bool(parts)
        and set(parts) <= set(ROLES)
        and all(_is_part(part, manifest["rows"]) for part in parts.values())
    )
    if not sound:
        raise HashzooError(f"{path} is damaged; copy or export the archive again", exit_code=1)
    return manifest


def open_part(folder: Path, role: str, part: Mapping[str, Any]) -> np.ndarray:
    """The features of one modality, memory-mapped, once they are what the manifest says.

    What was found is remembered, so that a file is read in full only where it is new.
    """
    # The name is not the manifest's to choose: nothing outside of the folder can be meant.
    path = folder / f"{role}.npy"
    damaged = HashzooError(f"{path} is not what {folder / 'manifest.json'} says; copy or export it again", exit_code=1)
    try:
        if path.is_symlink() or path.stat().st_size != part["size"] or file_sha256(path) != part["sha256"]:
            raise damaged
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged from error
    if not isinstance(array, np.memmap) or list(array.shape) != part["shape"] or array.dtype.name != part["dtype"]:
        raise damaged
    note = cache_dir() / "digests" / f"{file_sha256(path)}-finite.json"
    if not note.exists():
        _check_finite(array, str(path))
        with contextlib.suppress(HashzooError):  # a cache that cannot be written costs time, not the result
            write_json(note, {"finite": True})
    return array


def _check_finite(array: np.ndarray, what: str) -> None:
    for start in range(0, len(array), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(array)))
        finite = np.isfinite(take(array, rows)).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise HashzooError(f"row {row} of {what} holds a value that is not finite; leave the row out or mend it")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_part(part: Any, rows: int) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("card"), dict) or part.get("dtype") not in DTYPES:
        return False
    try:
        canonical_json(part["card"])
    except ValueError:  # NaN, which is no JSON
        return False
    shape = part.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(map(_is_count, shape)):
        return False
    enough = _is_count(part.get("size")) and part["size"] > math.prod(shape) * np.dtype(part["dtype"]).itemsize
    return shape[0] == rows and shape[1] <= MAX_DIM and enough and isinstance(part.get("sha256"), str)
