"""Items to be encoded: pictures of a folder, rows of a table, lines of texts, rows of a data set.

Each source is written down in a collection as plain JSON, so that the same command goes on where it was, and so that
the pictures of hits are found again (`Shown`).
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo.benches.reopening import Opened, opened_as, reopen
from hashzoo.benches.track import Track
from hashzoo.data import Dataset
from hashzoo.data.folds import InFold
from hashzoo.data.pictures import open_picture
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.search.manifest import NAME
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import file_digest

if TYPE_CHECKING:
    import pyarrow
    from PIL.Image import Image

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".avif", ".ico", ".tga"),
)
SPLITS = ("database", "query", "train", "all")


@dataclass(frozen=True, eq=False)
class Items:
    """N items of one source.

    Attributes:
        name: of the source, for people.
        roles: (N,) "image", "text", or "" for a row that has neither.
        columns: metadata, N values each, under names that SQL takes; `key` among them, unless that is "id".
        key: the column that tells items apart; "id" for the ids themselves.
        ids: (N,) int64, or None where the collection gives them.
        item: role and row to a picture or a text; HashzooError if it cannot be read. Threads call it side by side.
        source: the source as plain JSON.
        rows: (N,) rows of the data set, where that is the source.
        dataset: that data set.
    """

    name: str
    roles: np.ndarray
    columns: Mapping[str, Any]
    key: str
    ids: np.ndarray | None
    item: Callable[[str, int], Any]
    source: Mapping[str, Any]
    rows: np.ndarray | None = None
    dataset: Dataset | None = None

    def __len__(self) -> int:
        return len(self.roles)

    def called(self, row: int) -> str:
        """The name of an item, for messages."""
        return f"id {self.ids[row]}" if self.ids is not None else str(self.columns[self.key][row])


def pictures_in(folder: Path) -> Items:
    """All picture files in a folder and below; hidden ones are left out. Their path in it is the column `key`."""
    if not folder.is_dir():
        raise HashzooError(f"{folder} is no folder; give --images the folder that holds the pictures")
    root = folder.resolve()
    paths = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(root)
        paths += [
            (inside / name).as_posix() for name in files if name.lower().endswith(PICTURES) and not name.startswith(".")
        ]
    if not paths:
        raise HashzooError(f"{folder} holds no picture files ({', '.join(PICTURES)}); give --images another folder")
    unfit = [path for path in paths if not _is_text(path)]
    if unfit:
        name = unfit[0].encode("utf-8", "replace").decode()
        raise HashzooError(f"the file name {name} in {folder} is no UTF-8; rename the file")
    paths.sort()
    return Items(
        name=folder.name or str(folder),
        roles=np.full(len(paths), "image"),
        columns={"key": paths},
        key="key",
        ids=None,
        item=lambda role, row: open_picture(root / paths[row]),
        source={"kind": "pictures", "root": str(root), "column": "key"},
    )


def lines_of(path: Path) -> Items:
    """The lines of a text file that are not blank; ids are line numbers, from 1, texts are the column `text`."""
    lines = _read_text(path).splitlines()
    numbers = np.array([number for number, line in enumerate(lines, 1) if line.strip()], dtype=np.int64)
    if not len(numbers):
        raise HashzooError(f"{path} holds no text; give --texts a file with a text a line")
    texts = [lines[number - 1].strip() for number in numbers]
    return Items(
        name=path.name,
        roles=np.full(len(texts), "text"),
        columns={"text": texts},
        key="id",
        ids=numbers,
        item=lambda role, row: texts[row],
        source={"kind": "texts", "digest": file_digest(path)},
    )


def rows_of_table(path: Path, of: str = "") -> Items:
    """The rows of a CSV, TSV, JSON lines or Parquet file with the columns `image`, `text` or both.

    `image` holds paths, from the table's folder; a row without a picture is encoded by its text. All other columns are
    metadata. A column `id` of distinct whole numbers gives the ids; one of texts is kept as the column `key`. Without
    one, ids are row numbers from 0.

    Args:
        path: of the table.
        of: "image" or "text", to take these alone.
    """
    table = _read_table(path)
    given = table.column_names
    repeated = _repeated(given)
    if repeated:
        raise HashzooError(f"{path} has two columns called '{repeated[0]}'; give each a name of its own")
    if not {"image", "text"} & set(given):
        raise HashzooError(
            f"{path} has no column 'image' and none 'text' (it has {', '.join(given)}); rename the column of paths to "
            f"image, that of texts to text"
        )
    if of and of not in given:
        raise HashzooError(f"{path} has no column '{of}'; leave out --of")
    columns: dict[str, Any] = {name: table.column(name) for name in given if name != "id"}
    root = path.resolve().parent
    pictures = [_inside(value, root, path, row) for row, value in enumerate(_strings(table, "image", path))]
    texts = [value.strip() for value in _strings(table, "text", path)]
    if "image" in columns:
        columns["image"] = [picture or None for picture in pictures]
    roles = np.full(table.num_rows, "", dtype="<U5")
    if of != "image":
        roles[[bool(text) for text in texts] or slice(0)] = "text"
    if of != "text":
        roles[[bool(picture) for picture in pictures] or slice(0)] = "image"
    ids, key = _ids_of(table, path)
    if key == "key":
        if "key" in columns:
            raise HashzooError(f"{path} has the columns 'id' and 'key'; rename one of them")
        columns["key"] = table.column("id")

    def item(role: str, row: int) -> Any:
        return open_picture(root / pictures[row]) if role == "image" else texts[row]

    source = {"kind": "table", "root": str(root), "column": "image", "of": of}
    if "id" not in given:  # row numbers mean something else when a row has come in between
        source["digest"] = file_digest(path)
    return Items(path.name, roles, columns, key, ids, item, source)


def rows_of_dataset(run: Path, of: str = "", split: str = "database") -> Items:
    """Rows of the data set that a run was trained on; ids are row numbers, texts and labels are metadata.

    Args:
        run: its folder, in the folder of its track.
        of: "image" or "text", what is encoded; pictures where it is empty.
        split: "database", "query", "train" or "all".
    """
    if (run / NAME).exists():
        raise HashzooError(f"{run} is a collection; name what to encode: --images, --table or --texts")
    place = run.resolve().parent.parent
    dataset = reopen(place, Track.load(place))
    opened = opened_as(place) or Opened(dataset.name)
    splits = dataset.splits
    rows = np.arange(len(dataset)) if split == "all" else np.sort(getattr(splits, split))
    columns: dict[str, Any] = {}
    if "text" in dataset.raw:
        columns["text"] = [dataset.text(int(row)) for row in rows]
    labels = np.asarray(dataset.labels)
    columns["labels"] = [[dataset.classes[column] for column in np.flatnonzero(labels[row])] for row in rows]
    role = of or "image"
    return Items(
        name=dataset.name,
        roles=np.full(len(rows), role),
        columns=columns,
        key="id",
        ids=rows,
        item=lambda role, row: dataset.image(int(rows[row])) if role == "image" else dataset.text(int(rows[row])),
        source={
            **{"kind": "dataset", "opened": asdict(opened), "fingerprint": dataset.fingerprint()},
            **{"of": role, "split": split, "pictures": "image" in dataset.raw},
        },
        rows=rows,
        dataset=dataset,
    )


def items_of(source: Mapping[str, str], run: Path | str) -> Items:
    """Items by how they were asked for, in plain words that a worker process can be sent.

    Args:
        source: {"images": folder}, {"table": file, "of": ""}, {"texts": file}, or {"of": "", "split": "database"} for
            rows of the data set of the run.
        run: its folder.
    """
    if "images" in source:
        return pictures_in(Path(source["images"]))
    if "table" in source:
        return rows_of_table(Path(source["table"]), source["of"])
    if "texts" in source:
        return lines_of(Path(source["texts"]))
    return rows_of_dataset(Path(run), source["of"], source["split"])


class Shown:
    """The pictures of a collection's items, found again where the items came from. Threads may call it side by side.

    Args:
        source: what `Items.source` was; {} for a collection that was not made of items.
    """

    def __init__(self, source: Mapping[str, Any]):
        self.source = source

    @property
    def any(self) -> bool:
        """Whether there can be pictures."""
        kind = self.source.get("kind")
        return kind in ("pictures", "table") or (kind == "dataset" and bool(self.source["pictures"]))

    def picture(self, number: int, metadata: Mapping[str, Any]) -> Image | None:
        """The picture of an item by its id and its metadata; None for an item without one.

        Raises:
            HashzooError: it is not there any more, or the data set has changed.
        """
        if not self.any:
            return None
        if self.source["kind"] == "dataset":
            return self._dataset.image(number)
        name = metadata.get(self.source["column"])
        if not name:
            return None
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise HashzooError(f"item {number} names a picture outside of its folder; encode again", exit_code=1)
        return open_picture(Path(self.source["root"]) / name)

    @functools.cached_property
    def _dataset(self) -> Dataset:
        opened = self.source["opened"]
        dataset = open_dataset(opened["name"], parse_assignments(opened["settings"], [], ["dataset"]))
        if opened["fold"]:
            dataset = InFold(dataset, *opened["fold"])
        if dataset.fingerprint() != self.source["fingerprint"]:
            raise HashzooError(
                f"the content of '{opened['name']}' here is not that which was encoded; prepare the same data set",
                exit_code=1,
            )
        return dataset


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise HashzooError(f"{path} is no UTF-8 text (byte {error.start}); convert it") from error
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error}); give the path of a file") from error


def _read_table(path: Path) -> pyarrow.Table:
    from hashzoo.search.tables import pyarrow_module

    pa = pyarrow_module()
    ending = path.suffix.lower()
    texts = {"text": pa.string(), "image": pa.string()}
    try:
        if ending in (".csv", ".tsv"):
            parse = {"delimiter": "\t" if ending == ".tsv" else ",", "newlines_in_values": True}
            reader = pyarrow_module("pyarrow.csv")
            convert = reader.ConvertOptions(column_types=texts, strings_can_be_null=True)
            table = reader.read_csv(path, parse_options=reader.ParseOptions(**parse), convert_options=convert)
        elif ending in (".jsonl", ".ndjson"):
            _check_lines(path)
            table = pyarrow_module("pyarrow.json").read_json(path)
        elif ending == ".parquet":
            table = pyarrow_module("pyarrow.parquet").read_table(path)
        else:
            raise HashzooError(f"{path} is no .csv, .tsv, .jsonl or .parquet file; give --table one of these")
        table.validate(full=True)  # readers take texts that are not UTF-8 for granted, and so would a collection
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise HashzooError(f"{path} cannot be read as a table ({reason}); give --table another file") from error
    if not table.num_rows:
        raise HashzooError(f"{path} has no rows; give --table another file")
    return table


def _check_lines(path: Path) -> None:
    """Raise ValueError unless every line is a JSON object: pyarrow ends the process over a `null` in the first line."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                right = not line.strip() or isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                right = False
            if not right:
                raise ValueError(f"line {number} is no JSON object")


def _strings(table: pyarrow.Table, name: str, path: Path) -> list[str]:
    """A column of texts, "" where a value is missing; [] where there is no such column."""
    if name not in table.column_names:
        return []
    values = table.column(name).to_pylist()
    wrong = next((row for row, value in enumerate(values) if not isinstance(value, str | None)), None)
    if wrong is not None:
        raise HashzooError(
            f"the column '{name}' of {path} holds {type(values[wrong]).__name__} in row {wrong}, not a "
            f"{'path' if name == 'image' else 'text'}; convert it"
        )
    return [value or "" for value in values]


def _inside(value: str, root: Path, table: Path, row: int) -> str:
    """The path of a picture, relative to the table's folder."""
    if not value:
        return ""
    place = os.path.normpath(os.path.join(root, value))
    if not Path(place).is_relative_to(root):
        raise HashzooError(
            f"row {row} of {table} names the picture {value}, which is not in the table's folder; put the table above "
            f"its pictures"
        )
    return Path(place).relative_to(root).as_posix()


def _ids_of(table: pyarrow.Table, path: Path) -> tuple[np.ndarray | None, str]:
    """(N,) ids and "id", or None and "key" where a column `id` of texts tells rows apart."""
    if "id" not in table.column_names:
        return np.arange(table.num_rows), "id"
    values = table.column("id").to_pylist()
    if None in values:
        raise HashzooError(f"row {values.index(None)} of {path} has no id; give each row one, or take the column out")
    texts = all(isinstance(value, str) for value in values)
    if not texts and not all(isinstance(value, int) and 0 <= value < 2**63 - 1 for value in values):
        raise HashzooError(f"ids of {path} are whole numbers from 0, or texts; convert the column id")
    repeated = _repeated(values)
    if repeated:
        raise HashzooError(f"{path} has the id {repeated[0]} twice; give each row one of its own")
    return (None, "key") if texts else (np.array(values, dtype=np.int64), "id")


def _repeated(values: Sequence[Any]) -> list[Any]:
    """What stands there more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def spread(roles: Sequence[str]) -> str:
    """What kinds of items there are, in words: "1,204 pictures and 30 texts"."""
    counts = [(name, int(np.count_nonzero(np.asarray(roles) == role))) for role, name in NAMES.items()]
    return " and ".join(f"{count:,} {name}{'s' if count != 1 else ''}" for name, count in counts if count)


NAMES = {"image": "picture", "text": "text"}
