"""`files/NAME`: the user's own files in the formats of `exchange`, under a name of the user's choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from hashzoo.data.archives import Source, listing, read_lines
from hashzoo.data.base import Splits
from hashzoo.data.benchmarks import Pairs, common_root, with_pictures
from hashzoo.data.captions import find_captions, read_captions
from hashzoo.data.exchange import Exchange, read_exchange
from hashzoo.data.locks import alone
from hashzoo.data.prepared import Prepared, Rows, write_prepared
from hashzoo.errors import HashzooError
from hashzoo.progress import progress, say
from hashzoo.storage.files import atomic_write, cache_dir

TAG_LISTS = ("TagList.txt", "TagList1k.txt", "tags.txt", "common_tags.txt")
DCMH = (2_000, 10_000)  # queries and training rows
DCMH_LARGE = (2_100, 10_500)  # of NUS-WIDE
DCHMT = (5_000, 10_000)
DCHMT_SEED = 1814
LABELS_AS_TEXTS = (
    "the lists bring no texts, so that label names stand in for them: what retrieves by text knows the labels; "
    "put texts.txt (a path, a tab, the text) beside the lists"
)


class Files(Prepared):
    """What a folder holds, prepared under a name: `hashzoo datasets prepare files/mine --from FOLDER`.

    DCMH: `IAll` (pictures (h, w, 3, N) or features (N, dim)), `YAll` (N, tags), `LAll` (N, labels) in one .mat file or
    several; the first 2,000 rows are queries, the next 10,000 training rows. DCHMT: index.mat, caption.mat (or .txt)
    and label.mat; 5,000 and 10,000 of a permutation. DeepHash: train.txt, test.txt, database.txt with pictures below
    the folder. Flickr30k: its captions, with labels.txt or label_words.txt (see `captions`) and pictures below the
    folder. Beside them: a list of tags (TagList.txt), which turns `YAll` into texts too, and classes.txt.
    """

    known = frozenset({"unused label"})

    def __init__(self, variant: str = ""):
        super().__init__(_folder(variant), _how(variant))

    def notes(self) -> list[str]:
        return list(self.manifest["source"]["notes"])

    @classmethod
    def prepare(cls, variant: str = "", source: Path | None = None) -> None:  # type: ignore[override]
        """Convert what the folder (or .mat file) `source` holds."""
        folder = _folder(variant)
        if source is None:
            if not (folder / "manifest.json").exists():
                raise HashzooError(f"'files/{variant}' is made of files of yours: type {_how(variant)}")
            return
        captions = find_captions(source)
        found = read_exchange(source) if captions is None else read_captions(captions)
        with alone(folder):
            rows, notes = _rows(found, source, folder)
            rows.source = {"notes": notes}
            write_prepared(folder, f"files/{variant}", rows, "the files of the user, under the terms of their authors")
        for note in notes:
            say(note)


def _rows(found: Exchange, source: Path, folder: Path) -> tuple[Rows, list[str]]:
    beside = source if source.is_dir() else source.parent
    classes = found.classes or _classes(beside, found.labels.shape[1])
    splits, notes = _splits(found), list(found.notes)
    splits.check(len(found.labels))
    texts: list[str] | None = None
    features = {}
    if found.captions is not None:
        texts = [" ".join(captions[0].split()) if captions else "" for captions in found.captions]
    if found.texts is not None:
        features["text"] = found.texts
        tags = _tags(beside, found.texts.shape[1])
        if texts is None and tags is not None:
            texts = [" ".join(tags[column] for column in np.flatnonzero(row)) for row in found.texts]
    elif texts is None:
        texts = [" ".join(classes[column] for column in np.flatnonzero(row)) for row in found.labels]
        notes.append(LABELS_AS_TEXTS)
    if found.names is not None:
        root, images = _pictures(found.names, beside, folder)
        pairs = Pairs(classes, found.labels, texts or [""] * len(images), images, root, features)
        rows, missing = with_pictures(pairs, splits, beside)
        if texts is None:
            rows.texts = None
        if missing:
            notes.append(f"{missing:,} pictures are missing, and their rows left out")
        return rows, notes
    assert found.images is not None
    if found.images.ndim == 2:
        return Rows(classes, found.labels, splits, texts=texts, features=features | {"image": found.images}), notes
    names = _write_pictures(found.images, folder / "pictures")
    root = folder / "pictures"
    return Rows(classes, found.labels, splits, names, root, texts=texts, features=features), notes


def _splits(found: Exchange) -> Splits:
    if found.splits is not None:
        return Splits(**found.splits, rule=found.rule)
    rows = len(found.labels)
    listed = found.names is not None
    query, train = DCHMT if listed else DCMH if rows < 100_000 else DCMH_LARGE
    how = "as the code of DCHMT has it" if listed else "as the code of DCMH has it"
    if rows < 2 * query + train:
        query, train, how = rows // 10, rows // 2, "a tenth and a half, as there are few rows"
    order = np.random.RandomState(DCHMT_SEED).permutation(rows) if listed else np.arange(rows)
    order = order.astype(np.int64)
    taken = f"a permutation of the rows (NumPy's RandomState({DCHMT_SEED}))" if listed else "the rows in order"
    return Splits(
        train=order[query : query + train],
        query=order[:query],
        database=order[query:],
        rule=f"the first {query:,} of {taken} are queries, the next {train:,} training rows ({how}), all but the "
        f"queries are the database",
    )


def _classes(folder: Path, count: int) -> list[str]:
    path = folder / "classes.txt"
    if not path.is_file():
        return [f"label{column}" for column in range(count)]
    names = [line.strip() for line in read_lines(path) if line.strip()]
    if len(names) != count or len(set(names)) != count:
        raise HashzooError(f"{path} has {len(set(names)):,} names where there are {count:,} labels; write one a line")
    return names


def _tags(folder: Path, count: int) -> list[str] | None:
    """The names of the tags, from the first list that is there; it may have counts beside them."""
    for path in (folder / name for name in TAG_LISTS):
        if path.is_file():
            names = [line.split()[0] for line in read_lines(path) if line.split()]
            if len(names) != count:
                raise HashzooError(f"{path} has {len(names):,} tags where the texts have {count:,} columns; mend it")
            return names
    return None


def _pictures(names: Sequence[str], folder: Path, into: Path) -> tuple[Path, list[str]]:
    """The folder of the pictures and the path of each in it, "" for a missing one.

    Names often begin with folders of another machine: what is left of them below `folder` counts.
    """
    files = Source(folder, into / "unpacked")
    paths = [PurePosixPath(name.strip().replace("\\", "/")) for name in names]
    for path in paths[:50]:
        parts = [part for part in path.parts if part != "/"]
        for first in range(len(parts)):
            place = files.find("/".join(parts[first:])) if ".." not in parts else None
            if place is not None and place.is_file():
                root = place.parents[len(parts) - first - 1]
                there = listing(root)
                kept = ["/".join([part for part in other.parts if part != "/"][first:]) for other in paths]
                return root, [name if name in there else "" for name in kept]
    if all(path.is_absolute() for path in paths) and Path(paths[0]).is_file():
        root = common_root(*{Path(path).parent for path in paths})
        there = listing(root)
        return root, [name if (name := str(path.relative_to(root))) in there else "" for path in paths]
    raise HashzooError(f"no picture such as {names[0][:100].strip()} is below {folder}; put their folder there")


def _write_pictures(images: np.ndarray, folder: Path) -> list[str]:
    """One PNG a row."""
    names = [f"{row:06d}.png" for row in range(len(images))]
    with progress("Writing pictures", len(names), "pictures") as advance:
        for name, image in zip(names, images, strict=True):
            with atomic_write(folder / name) as file:
                Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=1)
            advance(1)
    return names


def _folder(variant: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", variant):
        raise HashzooError("'files' needs a name of your choice after a slash: files/mine")
    return cache_dir() / "datasets" / "files" / variant


def _how(variant: str) -> str:
    return (
        f"hashzoo datasets prepare files/{variant} --from FOLDER, with the folder that holds IAll, YAll and LAll "
        f"(.mat), or index.mat, caption.mat and label.mat, or train.txt, test.txt and database.txt, or captions"
    )
