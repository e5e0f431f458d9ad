"""The files in which this field hands data sets on: arrays of DCMH, lists of DCHMT, image lists of DeepHash.

All are read as data: no object array is loaded, no pickle, no MATLAB object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hashzoo.data.archives import read_lines
from hashzoo.data.matlab import read_matlab, read_matlab_texts
from hashzoo.errors import HashzooError

# By what a variable is, the names that it goes by, in lower case.
ARRAYS = {
    "images": ("iall", "xall", "images", "image", "img"),
    "texts": ("yall", "tall", "tags", "texts", "text"),
    "labels": ("lall", "labels", "label", "category"),
}
STRINGS = {"names": ("fall", "index", "imgs"), "captions": ("caption", "captions")}
LISTS = ("train.txt", "test.txt", "database.txt")
MAX_CLASSES = 100_000


@dataclass
class Exchange:
    """What was found. Row i of each part is one pair.

    Attributes:
        labels: (N, C) bool.
        images: (N, dim) float32 features, or (N, h, w, 3) uint8 pictures, or None.
        names: a path a row, or None.
        texts: (N, dim) float32 features, or None.
        captions: one or more strings a row, or None.
        splits: rows of train, query and database, and perhaps val, where the files say.
        rule: how they say it.
        classes: C names, where the files have them.
        notes: sentences on the labels that the user should know.
    """

    labels: np.ndarray
    images: np.ndarray | None = None
    names: list[str] | None = None
    texts: np.ndarray | None = None
    captions: list[list[str]] | None = None
    splits: Mapping[str, np.ndarray] | None = None
    rule: str = "the lists train.txt, test.txt (queries) and database.txt"
    classes: list[str] | None = None
    notes: Sequence[str] = ()


def read_exchange(source: Path) -> Exchange:
    """Read a folder, or one .mat file.

    Raises:
        HashzooError: something is missing, damaged, of another type or length, or could only be read by running code.
    """
    if source.is_dir() and all((source / name).is_file() for name in LISTS):
        return read_lists(source)
    return read_arrays(source)


def read_arrays(source: Path) -> Exchange:
    """Images, texts and labels in .mat (v5 or v7.3) or .npy files, together or apart; captions in caption.txt too."""
    paths = (
        sorted(path for path in source.iterdir() if path.suffix in (".mat", ".npy")) if source.is_dir() else [source]
    )
    found: dict[str, np.ndarray] = {}
    strings: dict[str, list[list[str]]] = {}
    for path in paths:
        arrays = {path.stem: _npy(path)} if path.suffix == ".npy" else read_matlab(path)
        for name, array in arrays.items():
            _keep(found, _kind(ARRAYS, name), array, path)
        if path.suffix == ".mat":
            for name, rows in read_matlab_texts(path).items():
                _keep(strings, _kind(STRINGS, name), rows, path)
    if source.is_dir() and "captions" not in strings and (source / "caption.txt").is_file():
        strings["captions"] = [[line.strip()] for line in read_lines(source / "caption.txt")]
    images, names = found.get("images"), strings.get("names")
    texts, captions = found.get("texts"), strings.get("captions")
    expected = "LAll with labels, IAll with images or their features, YAll with tags; or label, index and caption"
    for what, parts in (("labels", [found.get("labels")]), ("images", [images, names]), ("texts", [texts, captions])):
        if all(part is None for part in parts):
            raise HashzooError(f"no {what} in the .mat and .npy files of {source}; expected are arrays {expected}")
    labels = found["labels"]
    if labels.ndim != 2:
        raise HashzooError(f"labels must be (N, C), not {labels.shape}")
    count = _common_length(labels, [part for part in (images, texts) if part is not None], [names, captions])
    listed = None
    if names is not None and images is None:
        listed = [row[0] if row else "" for row in _long(names, count, "index")]
    return Exchange(
        _marks(_first_axis(labels, count, "labels")),
        None if images is None else _images(images, count),
        listed,
        None if texts is None else _features(texts, count, "texts"),
        None if captions is None else _long(captions, count, "caption"),
    )


def read_lists(source: Path) -> Exchange:
    """train.txt, test.txt and database.txt: a path and 0 or 1 for each label, or class numbers, on each line.

    A picture is one row, whichever lists name it. Texts may stand in texts.txt: a path, a tab, the text.
    """
    rows: dict[str, int] = {}
    values: list[tuple[int, ...]] = []
    splits = {}
    for name, split in zip(LISTS, ("train", "query", "database"), strict=True):
        listed = []
        for number, line in enumerate(read_lines(source / name), start=1):
            if not line.strip():
                continue
            path, labels = _entry(line, f"line {number} of {source / name}")
            row = rows.setdefault(path, len(rows))
            if row == len(values):
                values.append(labels)
            elif values[row] != labels:
                raise HashzooError(f"line {number} of {source / name} gives '{path}' other labels than before; mend it")
            listed.append(row)
        splits[split] = np.array(listed, dtype=np.int64)
    captions = None
    if (source / "texts.txt").is_file():
        told = {name: text for name, _, text in (line.partition("\t") for line in read_lines(source / "texts.txt"))}
        captions = [[told.get(path, "").strip()] for path in rows]
    return Exchange(_multi_hot(values, source), names=list(rows), captions=captions, splits=splits)


def _entry(line: str, where: str) -> tuple[str, tuple[int, ...]]:
    fields = line.split()
    first = max((n + 1 for n, field in enumerate(fields) if not _whole(field)), default=0)
    if not first or first == len(fields):
        raise HashzooError(f"{where} is not a path and whole numbers; write 'im1.jpg 0 1 0'")
    return line.strip().rsplit(None, len(fields) - first)[0], tuple(int(field) for field in fields[first:])


def _whole(field: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", field))


def _multi_hot(values: Sequence[tuple[int, ...]], source: Path) -> np.ndarray:
    """(N, C) from lines of 0 and 1 of one length, or from class numbers."""
    lengths = {len(row) for row in values}
    highest = max((max(row) for row in values), default=0)
    if highest <= 1 and max(lengths, default=0) > 1:
        if len(lengths) > 1:
            raise HashzooError(
                f"the lists of {source} have from {min(lengths)} to {max(lengths)} labels a line; make them equal"
            )
        return np.array(values, dtype=bool)
    if highest >= MAX_CLASSES:
        raise HashzooError(f"the lists of {source} name class {highest}; class numbers end at {MAX_CLASSES - 1}")
    marks = np.zeros((len(values), highest + 1), dtype=bool)
    for row, numbers in enumerate(values):
        marks[row, list(numbers)] = True
    return marks


def _npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = "it holds Python objects, which are never loaded" if "pickle" in str(error) else str(error)
        raise HashzooError(f"{path} is no plain array ({reason}); save numbers with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise HashzooError(f"{path} does not hold numbers; save numbers with numpy.save")
    return array


def _kind(kinds: Mapping[str, Sequence[str]], name: str) -> str:
    return next((kind for kind, names in kinds.items() if name.lower() in names), "")


def _keep(found: dict, kind: str, value: object, path: Path) -> None:
    if kind and kind in found:
        raise HashzooError(
            f"{path} holds {kind} that another file or variable holds too; leave one of them in the folder"
        )
    if kind:
        found[kind] = value


def _common_length(labels: np.ndarray, arrays: Sequence[np.ndarray], lists: Sequence[Sequence | None]) -> int:
    """The number of pairs: the axis of the labels that all other parts have too."""
    shapes = [array.shape for array in arrays] + [(len(part),) for part in lists if part is not None]
    for rows in labels.shape:
        if all(rows in shape for shape in shapes):
            return rows
    told = ", ".join(map(str, [labels.shape, *shapes]))
    raise HashzooError(f"labels, images and texts have no number of rows in common: {told}; each row needs one of each")


def _first_axis(array: np.ndarray, rows: int, what: str) -> np.ndarray:
    if array.ndim != 2:
        raise HashzooError(f"{what} must be (N, dim), not {array.shape}")
    return array if array.shape[0] == rows else array.T


def _long(rows: list[list[str]], count: int, what: str) -> list[list[str]]:
    if len(rows) != count:
        raise HashzooError(f"{what} has {len(rows):,} rows where the labels have {count:,}; each row needs one of each")
    return rows


def _marks(labels: np.ndarray) -> np.ndarray:
    """0 and 1, or -1 and 1, to bool."""
    if not np.isin(labels, (-1, 0, 1)).all():
        raise HashzooError("labels hold other values than 0 and 1 (or -1 and 1); give one column a label")
    return np.ascontiguousarray(labels > 0)


def _features(array: np.ndarray, rows: int, what: str) -> np.ndarray:
    features = np.ascontiguousarray(_first_axis(array, rows, what), dtype=np.float32)
    if not np.isfinite(features).all():
        raise HashzooError(f"{what} hold values that are not finite; mend or leave out those rows")
    return features


def _images(array: np.ndarray, rows: int) -> np.ndarray:
    """Features as they are; pictures from (h, w, 3, N), (N, h, w, 3) or (N, 3, h, w) to (N, h, w, 3), a view."""
    if array.ndim == 2:
        return _features(array, rows, "images")
    layouts = {
        (rows, None, None, 3): (0, 1, 2, 3),
        (rows, 3, None, None): (0, 2, 3, 1),
        (None, None, 3, rows): (3, 0, 1, 2),
    }
    for shape, axes in layouts.items():
        if array.ndim == 4 and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            if array.dtype != np.uint8:
                raise HashzooError(f"pictures must be uint8 (0 to 255), not {array.dtype}; convert them")
            return array.transpose(axes)
    raise HashzooError(
        f"images must be (h, w, 3, N), (N, h, w, 3), (N, 3, h, w) or features (N, dim), not {array.shape}"
    )
