"""`table:PATH`: a user's own pictures, texts and labels, from a file, a saved data set or tar shards."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from PIL.Image import Image

from hashzoo.data.prepared import Prepared, discard, write_prepared
from hashzoo.data.table_arrow import Arrow, from_arrow
from hashzoo.data.table_build import Settings, build, roles_of
from hashzoo.data.table_files import Frame, Source
from hashzoo.data.table_open import files_of, open_source
from hashzoo.data.table_pictures import stats_of
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.progress import progress
from hashzoo.settings import keywords
from hashzoo.storage.files import cache_dir, digest, read_arrays, read_json, write_arrays, write_error, write_json

if TYPE_CHECKING:
    import pandas

VERSION = 2  # to be raised with any change of what a table is read as
LICENCE = "Your own data; say who made them with --set 'dataset.licence=...'."
QUICK = 2**24  # bytes of a file that is read without a word


class Tabular(Prepared):
    """Rows of a table, prepared in the cache. Picture files stay where they are."""

    def __init__(self, folder: Path, how: str):
        super().__init__(folder, how)
        self.repeats = tuple(self.manifest["source"]["repeats"])

    def changed(self) -> list[str]:
        """Picture files whose size or time is not what it was when they were read."""
        try:
            before = read_arrays(self.folder / "stats.npz")["pictures"]
        except (HashzooError, KeyError):
            return [str(self.folder / "stats.npz")]
        assert self._images is not None, "tables have pictures"
        assert self._root is not None, "tables have pictures"
        rows = np.flatnonzero((stats_of(self._root, self._images) != before).any(axis=1))
        return [self._images[row] for row in rows]


class Table(Tabular):
    """Pairs from a .jsonl, .csv, .tsv or .parquet file, a saved `datasets` folder or WebDataset tar shards.

    The first use prepares it; later ones open it at once, unless the table or a picture has changed.

    Args:
        argument: the path of the table, or of a folder that holds one.
        image: the column of pictures: paths, or what the table holds itself.
        text: the columns of texts, or of lists of texts.
        labels: the column of label names, or several 0/1 columns, one a class; a name with * stands for all it matches.
        group: a column; rows of one group are never split. "none" for no such column, as below.
        split: a column that says train, val, query or database.
        id: a column of names for rows, which a file of splits may use.
        root: the folder that paths of pictures are relative to; that of the table where it is empty.
        outside: let pictures lie outside of the root.
        captions: of several texts of a row the "first", all of them "joined", or one "drawn" with the seed.
        separator: between label names in one text: a comma, or what is given: characters, "space", "tab", "none".
        min_count: labels that fewer rows have are left out.
        splits: a JSON or CSV file that says which rows, by id or by number from 0, are in which split.
        query: share of the rows to draw as queries, or their number, where no column and no file tells.
        val: share of the other rows to hold out of training, or their number.
        seed: 0 to 2^32 - 1, of what is drawn.
        skip_broken: leave rows out whose picture or text is missing or broken, instead of refusing the table.
        licence: who made the data, under which terms.
    """

    def __init__(
        self,
        argument: str,
        *,
        image: str = "",
        text: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        group: str = "",
        split: str = "",
        id: str = "",
        root: str = "",
        outside: bool = False,
        captions: str = "first",
        separator: str = "",
        min_count: int = 1,
        splits: str = "",
        query: float = 0.2,
        val: float = 0.0,
        seed: int = 0,
        skip_broken: bool = False,
        licence: str = "",
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "argument", "__class__")}
        path, settings = Path(argument).expanduser(), settings_of(given)
        how = f"hashzoo datasets prepare table:{argument}"
        folder = _folder(_key(path, settings))
        if not (folder / "manifest.json").exists():
            self.prepare(argument, **given)
        super().__init__(folder, how)
        if self.changed():
            self.prepare(argument, **given)
            super().__init__(folder, how)
        self._path = path

    @classmethod
    def prepare(cls, argument: str, **settings: Any) -> None:  # type: ignore[override]
        """Read the table and look at every picture, unless that was done and nothing has changed since."""
        path, chosen = Path(argument).expanduser(), settings_of(settings)
        content, name = _content_of_files(path), f"table:{path.resolve().name}"
        _prepare(_key(path, chosen), name, lambda: open_source(path), content, chosen, _root(path, chosen))

    def verify(self) -> None:
        """Read the table's files, all that was prepared, and every picture again."""
        super().verify()
        settings = self.manifest["source"]["settings"]
        if _key(self._path, settings_of(settings), remembered=False) != self.manifest["source"]["digest"]:
            raise self._damaged(self._path)


def from_frame(frame: pandas.DataFrame, *, name: str = "frame", **settings: Any) -> Tabular:
    """A data set from a pandas frame, for `hashzoo.bench(dataset=...)`.

    Args:
        frame: a row for each pair; pictures are paths, relative to `root`, or PIL images, or bytes of files.
        name: what tables call it.
        settings: those of `Table`; `root` is the working folder where it is not given.
    """
    return _from_memory(Frame(frame, name), settings)


def from_huggingface(dataset: Any, *, name: str = "dataset", **settings: Any) -> Tabular:
    """A data set from a `datasets.Dataset`, or a DatasetDict with its splits, for `hashzoo.bench(dataset=...)`.

    Args:
        dataset: with a feature Image or paths, relative to `root`, and ClassLabel features or names as labels.
        name: what tables call it.
        settings: those of `Table`; `root` is the working folder where it is not given.
    """
    if not hasattr(dataset, "items"):
        return _from_memory(from_arrow(dataset.with_format("arrow")[:], name), settings)
    tables = {split: part.with_format("arrow")[:] for split, part in dataset.items()}

    def batches(table: Any) -> Callable[[list[str], int], Any]:
        return lambda columns, size: table.select(columns).to_batches(size)

    parts = [(split, batches(table)) for split, table in tables.items()]
    return _from_memory(Arrow(name, parts, next(iter(tables.values())).schema, ()), settings)


def settings_of(given: dict[str, Any]) -> Settings:
    """Settings with defaults for what is not given, checked."""
    known = {name: parameter.default for name, parameter in keywords(Table).items()}
    for name in given:
        if name not in known:
            raise HashzooError(f"Table has no setting 'dataset.{name}'{did_you_mean(name, known)}")
    chosen = known | given
    for name in ("text", "labels"):
        chosen[name] = (chosen[name],) if isinstance(chosen[name], str) else tuple(chosen[name])
    for name, low, high in (("min_count", 1, 2**31), ("seed", 0, 2**32 - 1)):
        value = chosen[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise HashzooError(f"dataset.{name} is a whole number from {low} to {high}, not {value!r}")
    return Settings(**chosen)


def _from_memory(source: Source, given: dict[str, Any]) -> Tabular:
    settings = settings_of(given)
    root = Path(settings.root or ".").expanduser().resolve()
    content = _content_of(source, settings)
    key = digest([VERSION, content, vars(settings), str(root), _splits_digest(settings)])
    _prepare(key, source.name, lambda: source, content, settings, root)
    return Tabular(_folder(key), "the same Python lines again")


def _prepare(
    key: str, name: str, open_table: Callable[[], Source], content: str, settings: Settings, root: Path
) -> None:
    """Make a prepared folder what it should be, one process at a time."""
    folder = _folder(key)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        if (folder / "manifest.json").exists():
            try:
                changed = Tabular(folder, "").changed()
            except (HashzooError, KeyError):
                changed = ["what was prepared"]
            if not changed:
                return
            say = f"{len(changed):,} files of {name} have changed (first: {changed[0]}); preparing it again"
            print(f"hashzoo: {say}", file=sys.stderr)
        rows, stats = build(open_table(), content, settings, root, _folder(""))
        rows.source = {**rows.source, "digest": key}
        discard(folder)
        write_arrays(folder / "stats.npz", {"pictures": stats})
        write_prepared(folder, name, rows, settings.licence or LICENCE, allow_overlap=True)
    finally:
        lock.release()


def _folder(name: str) -> Path:
    return cache_dir() / "datasets" / "table" / name[:24]


def _root(path: Path, settings: Settings) -> Path:
    if settings.root:
        return Path(settings.root).expanduser().resolve()
    return (path if path.is_dir() else path.parent).resolve()


def _key(path: Path, settings: Settings, remembered: bool = True) -> str:
    """Digest of all that decides what a table is prepared as, but for the pictures."""
    content = _content_of_files(path, remembered)
    return digest([VERSION, content, vars(settings), str(_root(path, settings)), _splits_digest(settings)])


def _content_of_files(path: Path, remembered: bool = True) -> str:
    return digest([[file.name, _file_digest(file, remembered)] for file in files_of(path)])


def _splits_digest(settings: Settings) -> str:
    if not settings.splits:
        return ""
    path = Path(settings.splits).expanduser()
    if not path.is_file():
        raise HashzooError(f"there is no file of splits {path}; give dataset.splits a path from where you are")
    return _file_digest(path, remembered=False)


def _file_digest(path: Path, remembered: bool) -> str:
    """SHA-256 of a file; one that has the size and time that it had is not read again."""
    try:
        status = path.stat()
        about = {"path": str(path.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        known = _folder("digests") / f"{digest(about['path'])[:24]}.json"
        stored = read_json(known) if remembered and known.exists() else {}
        if all(stored.get(name) == value for name, value in about.items()):
            return str(stored["sha256"])
        sha = hashlib.sha256()
        with open(path, "rb") as file:
            if status.st_size <= QUICK:
                sha.update(file.read())
            else:
                with progress(f"reading {path.name}", status.st_size, "bytes") as advance:
                    while block := file.read(QUICK):
                        sha.update(block)
                        advance(len(block))
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    write_json(known, {**about, "sha256": sha.hexdigest()})
    return sha.hexdigest()


def _content_of(source: Source, settings: Settings) -> str:
    """Digest of what a table in memory holds, in the columns that are used."""
    roles = roles_of(source, settings)
    values, flags = source.read(roles.columns(), roles.flags)
    content = hashlib.sha256(json.dumps([values, list(roles.flags)], default=_kind).encode())
    content.update(np.packbits(flags, axis=1).tobytes())
    for value in source.pictures(roles.image):
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, Image):
            value = f"{value.mode} {value.size}".encode() + value.tobytes()
        held = value if isinstance(value, bytes) else json.dumps(value, default=_kind).encode()
        content.update(hashlib.sha256(held).digest())
    return content.hexdigest()


def _kind(value: object) -> str:
    """What stands for a value that no column can hold: it is refused when the table is read."""
    return type(value).__name__
