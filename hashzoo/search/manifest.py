"""The manifest of a collection: the files that make its state, with their lengths and digests."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hashzoo.codes import MAX_BITS
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest, file_digest, sync_folder, write_json
from hashzoo.storage.shapes import ANY, LINE, Each, Fields, Just, ListOf, Number, check

FORMAT = 1
NAME = "manifest.json"
CODES, IDS, OUTPUTS, METADATA = "codes.npy", "ids.npy", "outputs.npy", "metadata.parquet"  # of a segment
# SQL types that metadata has.
TYPES = ("BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP", "DATE", "VARCHAR[]")
_COUNT = Number(0, 2**63 - 1)
_FILE = Fields({"bytes": _COUNT, "sha256": LINE})
_DELETED = Fields({"rows": _COUNT, "name": LINE, "file": _FILE})
_PART = Fields(
    {
        **{"name": LINE, "rows": _COUNT, "first_id": int, "last_id": int},
        **{"files": Each(_FILE), "deleted": (None, _DELETED)},
    }
)
# What a manifest holds beside its format and its digest.
SHAPE = Fields(
    {
        **{"bits": Number(1, MAX_BITS), "outputs": bool, "version": _COUNT, "next_id": int},
        **{
            "columns": Each(tuple(map(Just, TYPES))),
            "model": Each(_FILE),
            "about": Each(ANY),
            "segments": ListOf(_PART),
        },
    }
)


@dataclass(frozen=True)
class File:
    """Length in bytes and SHA-256 (hex) of a file that is never written again."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        return cls(path.stat().st_size, file_digest(path))

    def check(self, folder: Path, name: str) -> None:
        """Compare the file `name` of the collection in `folder` with this."""
        try:
            right = File.of(folder / name) == self
        except OSError as error:
            raise unreadable(folder, error) from error
        if not right:
            raise damaged(folder, f"{name} does not match its digest")


@dataclass(frozen=True)
class Deleted:
    """Rows of a segment that are gone: how many, and the file that lists them, under `deleted/`."""

    rows: int
    name: str
    file: File


@dataclass(frozen=True)
class Part:
    """A segment as the manifest names it.

    Attributes:
        name: of its folder under `segments/`.
        rows: codes in it, deleted ones among them.
        first_id, last_id: of these rows.
        files: what is in the folder, by name.
        deleted: None while all rows are live.
    """

    name: str
    rows: int
    first_id: int
    last_id: int
    files: dict[str, File]
    deleted: Deleted | None = None

    @property
    def live(self) -> int:
        return self.rows - (self.deleted.rows if self.deleted else 0)


@dataclass(frozen=True)
class Manifest:
    """One state of a collection.

    Attributes:
        bits: code length.
        outputs: whether real-valued outputs are kept beside the codes.
        version: counts the changes.
        next_id: larger than every id that was ever in the collection.
        columns: SQL type of each column of metadata, one of TYPES; {} means that there is no metadata.
        model: the files under `model/`.
        about: what whoever made the collection wanted to keep with it, plain JSON.
        segments: in the order of their first ids.
    """

    bits: int
    outputs: bool = False
    version: int = 0
    next_id: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    model: dict[str, File] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    segments: tuple[Part, ...] = ()

    def followed(self, **changes: Any) -> Manifest:
        """The next state."""
        following = dataclasses.replace(self, version=self.version + 1, **changes)
        parts = sorted(following.segments, key=lambda part: part.first_id)
        return dataclasses.replace(following, segments=tuple(parts))

    def write(self, folder: Path) -> None:
        """Make this the state of the collection in `folder`; on return it is on the disk."""
        described = {"format": FORMAT, **dataclasses.asdict(self)}
        write_json(folder / NAME, described | {"digest": digest(described)})
        sync_folder(folder)


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """The state of the collection in `folder`, and the bytes that hold it: they change with every state."""
    path = folder / NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise HashzooError(
            f"there is no collection in {folder}; give a folder that hashzoo encode or Collection.create made"
        ) from None
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error})", exit_code=1) from error
    try:
        stored = json.loads(content)
        sha256 = stored.pop("digest")
        written = stored.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(folder, f"{NAME} is cut off or was not written by hashzoo") from error
    if written != FORMAT:
        raise HashzooError(
            f"the collection in {folder} has format {written}, this hashzoo reads {FORMAT}; encode again"
        )
    try:
        fits = digest({"format": FORMAT, **stored}) == sha256
        check(stored, SHAPE, NAME)
    except (ValueError, RecursionError) as error:
        raise damaged(folder, str(error)) from error
    if not fits:
        raise damaged(folder, f"{NAME} does not match its digest")
    segments = tuple(_part(part) for part in stored.pop("segments"))
    model = {name: File(**file) for name, file in stored.pop("model").items()}
    manifest = Manifest(**stored, model=model, segments=segments)
    names = [part.name for part in segments] + [part.deleted.name for part in segments if part.deleted]
    if any(Path(name).name != name for name in (*names, *model, *(file for part in segments for file in part.files))):
        raise damaged(folder, f"{NAME} names files outside of the collection")
    needed = {CODES, IDS, *([OUTPUTS] if manifest.outputs else []), *([METADATA] if manifest.columns else [])}
    for part in segments:
        if not needed <= set(part.files):
            raise damaged(folder, f"{NAME} lists no {min(needed - set(part.files))} of segment {part.name}")
    return manifest, content


def _part(stored: dict[str, Any]) -> Part:
    files = {name: File(**file) for name, file in stored.pop("files").items()}
    deleted = stored.pop("deleted")
    if deleted:
        deleted = Deleted(deleted["rows"], deleted["name"], File(**deleted["file"]))
    return Part(**stored, files=files, deleted=deleted)


def unreadable(folder: Path, error: Exception) -> HashzooError:
    """The sentence for a file of a collection that could not be read as it was written."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):  # the disk, or too many open files
        return HashzooError(f"the collection in {folder} cannot be read ({error.strerror or error})", exit_code=1)
    return damaged(folder, str(error))


def damaged(folder: Path, reason: str) -> HashzooError:
    """The sentence for a collection that is not what was written."""
    return HashzooError(
        f"the collection in {folder} is damaged ({reason}); put back a copy of it, or encode again", exit_code=1
    )
