"""What can be wrong with a data set, looked for row by row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hashzoo.data.base import Dataset
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage import digest


def verify(dataset: Dataset, allow_overlap: bool = False) -> dict[str, Any]:
    """Check a data set and describe it.

    Args:
        dataset: the data set.
        allow_overlap: query rows that stand in other splits too are no problem, but an overlap.

    Returns:
        {"dataset", "ok", "counts", "floor", "digest", "problems"}: `floor` is the mAP of random codes,
        `digest` covers content and splits, `problems` are sentences; `ok` means that there are none.
        "overlaps", sentences too, where query rows leak and that was allowed.
    """
    from hashzoo.evaluator import floor

    problems: list[str] = []
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
            problems.append(f"no {name} row has the label {', '.join(unused)}")
    found, leaks = _look_at_rows(dataset)
    problems += found if allow_overlap else found + leaks
    overlaps = [*dataset.overlaps, *leaks] if allow_overlap else []
    return {
        "dataset": dataset.name,
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
        **({"overlaps": overlaps} if overlaps else {}),
    }


def _look_at_rows(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Empty texts and pictures that are not RGB; the same picture among queries and database rows. Raw items alone."""
    empty, wrong_mode = [], []
    seen: dict[str, int] = {}
    queries = {int(row) for row in dataset.splits.query}
    database = {int(row) for row in dataset.splits.database}
    leaks = []
    with progress(f"checking {dataset.name}", len(dataset), "rows") as advance:
        for row in range(len(dataset)):
            if "text" in dataset.raw and not dataset.text(row).strip():
                empty.append(row)
            if "image" not in dataset.raw:
                advance(1)
                continue
            image = dataset.image(row)
            if image.mode != "RGB":
                wrong_mode.append(row)
            content = digest(f"{image.size}".encode() + image.tobytes())
            other = seen.setdefault(content, row)
            if (row in queries and other in database) or (row in database and other in queries):
                leaks.append((row, other))
            advance(1)
    problems = []
    if empty:
        problems.append(f"{len(empty)} rows have an empty text (first: row {empty[0]})")
    if wrong_mode:
        problems.append(f"{len(wrong_mode)} pictures are not RGB (first: row {wrong_mode[0]})")
    shared = f"{len(leaks)} pictures stand among queries and in the database (first: rows {leaks[0]})" if leaks else ""
    return problems, [shared] if shared else []
