"""What can be wrong with a data set, looked for row by row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from hashzoo.data.base import Dataset, Splits
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import digest


def verify(dataset: Dataset, allow_overlap: bool = False) -> dict[str, Any]:
    """Check a data set and describe it.

    Args:
        dataset: the data set.
        allow_overlap: query rows that stand in other splits too are no problem, but an overlap.

    Returns:
        {"dataset", "protocol", "ok", "counts", "floor", "digest", "problems", "notes"}: `protocol` is the variant, or
        ""; `floor` is the mAP of random codes; `digest` covers content and splits; `problems` are sentences, and `ok`
        means that there are none; `notes` are sentences on what the data set is known to be like. "overlaps",
        sentences too, where query rows leak and that was allowed.
    """
    from hashzoo.evaluator import floor

    problems: list[str] = []
    notes = list(dataset.notes())
    for check in (partial(dataset.check, allow_overlap), dataset.verify):
        try:
            check()
        except HashzooError as error:
            problems.append(str(error))
    splits = dataset.splits
    unlabelled = int((~dataset.labels.any(axis=1)).sum())
    if unlabelled:
        problems.append(f"{unlabelled} rows have no label; as queries they have nothing relevant")
    for name in ("train", "query", "database"):
        unused = [dataset.classes[c] for c in np.flatnonzero(~dataset.labels[getattr(splits, name)].any(axis=0))]
        if unused:
            known = notes if "unused label" in dataset.known else problems
            known.append(f"no {name} row has the label {', '.join(unused)}")
    overlaps = list(dataset.overlaps) if allow_overlap else []
    for kind, found in _look_at_rows(dataset).items():
        allowed = overlaps if allow_overlap and kind == "same picture" else problems
        (notes if kind in dataset.known else allowed).append(found)
    return {
        "dataset": dataset.name,
        "protocol": dataset.name.partition("/")[2],
        "ok": not problems,
        "counts": {
            "train": len(splits.train),
            "val": len(splits.val),
            "query": len(splits.query),
            "database": len(splits.database),
            "labels": len(dataset.classes),
        },
        "floor": floor(dataset.labels[splits.query], dataset.labels[splits.database]),
        "digest": digest([dataset.fingerprint(), splits.digest()]),
        "problems": problems,
        "notes": notes,
        **({"overlaps": overlaps} if overlaps else {}),
    }


def _look_at_rows(dataset: Dataset) -> dict[str, str]:
    """Empty texts, pictures that are not RGB, the same picture among queries and database rows; raw items alone.

    Where digests of the pictures are stored, no picture is decoded.
    """
    empty, wrong_mode, digests = [], [], []
    stored = dataset.picture_digests()
    decode = "image" in dataset.raw and stored is None
    with progress(f"checking {dataset.name}", len(dataset), "rows") as advance:
        for row in range(len(dataset)):
            if "text" in dataset.raw and not dataset.text(row).strip():
                empty.append(row)
            if decode:
                image = dataset.image(row)
                if image.mode != "RGB":
                    wrong_mode.append(row)
                digests.append(digest(f"{image.size}".encode() + image.tobytes()).encode())
            advance(1)
    if stored is not None:
        digests = [bytes(row) for row in stored]
    leaks = _shared(digests, dataset.splits) if digests else []
    found = {}
    if empty:
        found["empty text"] = f"{len(empty)} rows have an empty text (first: row {empty[0]})"
    if wrong_mode:
        found["wrong mode"] = f"{len(wrong_mode)} pictures are not RGB (first: row {wrong_mode[0]})"
    if leaks:
        found["same picture"] = (
            f"{len(leaks)} pictures stand among queries and in the database (first: rows {leaks[0]})"
        )
    return found


def _shared(digests: Sequence[bytes], splits: Splits) -> list[tuple[int, int]]:
    """The database rows whose picture is also that of a query, each with the first such query."""
    queries: dict[bytes, int] = {}
    for row in splits.query:
        queries.setdefault(digests[row], int(row))
    return [(int(row), queries[digests[row]]) for row in splits.database if digests[row] in queries]
