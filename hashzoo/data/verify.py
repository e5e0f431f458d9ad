"""What can be wrong with a data set, looked for row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashzoo.data.base import Dataset
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage import digest


def verify(dataset: Dataset) -> dict[str, Any]:
    """Check a data set and describe it.

    Returns:
        {"dataset", "ok", "counts", "floor", "digest", "problems"}: `floor` is the mAP of random codes,
        `digest` covers content and splits, `problems` are sentences; `ok` means that there are none.
    """
    from hashzoo.evaluator import floor

    problems: list[str] = []
    for check in (dataset.check, dataset.verify):
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
    problems += _look_at_rows(dataset)
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
    }


def _look_at_rows(dataset: Dataset) -> list[str]:
    """Empty texts, pictures that are not RGB, the same picture among queries and database rows; raw items alone."""
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
    if leaks:
        problems.append(f"{len(leaks)} pictures stand among queries and in the database (first: rows {leaks[0]})")
    return problems
