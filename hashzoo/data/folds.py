"""k-fold cross-validation: each row that may be trained on is a query once, and no query of the usual split is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashzoo.data.base import Dataset, Fold, Splits
from hashzoo.data.table_splits import codes_of, connected
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FOLDS = 100


class InFold(Dataset):
    """The rows of a data set with the splits of one fold (see `fold_of`).

    Args:
        whole: the data set.
        number, of, seed: of the fold.
        fingerprint: of the whole, where it is known already: the content is the same.
    """

    def __init__(self, whole: Dataset, number: int, of: int, seed: int = 0, fingerprint: str = ""):
        self.whole = whole
        self.name, self.classes, self.labels, self.licence = whole.name, whole.classes, whole.labels, whole.licence
        self.features, self.raw, self.known, self.groups = whole.features, whole.raw, whole.known, whole.groups
        self.splits, self.fold = fold_of(whole, number, of, seed)
        self._fingerprint = fingerprint

    def image(self, row: int) -> Image:
        return self.whole.image(row)

    def text(self, row: int) -> str:
        return self.whole.text(row)

    def fingerprint(self) -> str:
        self._fingerprint = self._fingerprint or self.whole.fingerprint()
        return self._fingerprint

    def picture_digests(self) -> np.ndarray | None:
        return self.whole.picture_digests()


def fold_of(dataset: Dataset, number: int, of: int, seed: int = 0) -> tuple[Splits, Fold]:
    """The split of one fold.

    The rows of train and val are cut into `of` parts. In fold `number` that part is the query split; of the others
    those of train are train, those of val are val, and all are the database. Rows that share a group, or a picture,
    are in one part. Groups in random order go, one after the other, to the part that has the fewest rows.

    Args:
        dataset: with its usual splits.
        number: from 1 to `of`.
        of: 2 to 100.
        seed: of the order.

    Raises:
        HashzooError: there are not enough rows or groups, or queries are known to be repeated in unknown rows.
    """
    usual = dataset.splits
    rows = np.sort(np.concatenate([usual.train, usual.val]))
    group = _groups(dataset)[rows]
    _, group = np.unique(group, return_inverse=True)
    sizes = np.bincount(group)
    if not 2 <= of <= min(MAX_FOLDS, len(sizes)):
        raise HashzooError(
            f"folds are a whole number from 2 to {min(MAX_FOLDS, len(sizes))} for '{dataset.name}' "
            f"({len(rows):,} rows to train on in {len(sizes):,} groups), not {of}"
        )
    if dataset.repeats and dataset.groups is None:
        raise HashzooError(
            f"'{dataset.name}' has rows that repeat one another ({dataset.repeats[0]}) and does not say which "
            f"belong together, so that folds cannot keep them apart; leave out --folds"
        )
    # The raw output of a bit generator is the same in every release of numpy; its shuffle need not be.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(sizes)), kind="stable")
    part, held = np.empty(len(sizes), dtype=np.int64), [0] * of
    for one in order.tolist():
        part[one] = held.index(min(held))
        held[part[one]] += int(sizes[one])
    in_part = part[group]
    query, rest = rows[in_part == number - 1], rows[in_part != number - 1]
    val = np.isin(rest, usual.val)
    if val.all():
        raise HashzooError(f"fold {number} of {of} leaves no row of '{dataset.name}' to train on; give fewer --folds")
    what = "train and val" if len(usual.val) else "train"
    together = f", groups together ({len(sizes):,} groups)" if len(sizes) < len(rows) else ""
    rule = (
        f"fold {number} of {of} (seed {seed}): {len(query):,} of the {len(rows):,} rows of {what} are queries, "
        f"the others {what} and database{together}; no other row, so no query of the usual split, is used"
    )
    partition = digest([digest(np.ascontiguousarray(part, dtype="<i8").tobytes()) for part in (rows, in_part)])
    return Splits(rest[~val], query, rest, rule, rest[val]), Fold(number, of, partition)


def _groups(dataset: Dataset) -> np.ndarray:
    """(N,) int64: the same number for rows that share a group or a picture."""
    pictures = dataset.picture_digests()
    keys = [] if pictures is None else [codes_of(np.asarray(pictures))]
    if dataset.groups is not None:
        keys.append(np.unique(dataset.groups, return_inverse=True)[1])
    return connected(keys, len(dataset))
