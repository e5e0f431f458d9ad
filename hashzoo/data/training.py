"""What a trainer sees of a data set: its training and val rows, as they are or made harder on purpose.

Query and database rows are never changed: a training row that is also a database row keeps its own labels and
its own text there. docs/datasets.md defines every option.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hashzoo.data.base import Dataset
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

NO_TEXT = -1  # stands where the number of a row stands otherwise: the empty text
# Independent streams of random words; their numbers are part of what a seed means.
_NOISY, _NOISE, _KEPT, _MISSING, _EXCHANGED, _SIZE = range(6)
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class TrainData:
    """How training data are made harder: the settings `train_data.*`.

    Attributes:
        label_noise: share of the rows one label of which is exchanged for one that the row does not have.
        kept_labels: share of the positive labels that stay, after the noise; the others are left out.
        missing_texts: share of the rows whose text becomes empty.
        exchanged_texts: share of the rows whose texts change places among themselves.
        size: share of the training rows that stay, or, over 1, their number. Val rows all stay.
        seed: decides which; 0 to 2^32 - 1.
    """

    label_noise: float = 0.0
    kept_labels: float = 1.0
    missing_texts: float = 0.0
    exchanged_texts: float = 0.0
    size: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("label_noise", "missing_texts", "exchanged_texts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"train_data.{name} is a share from 0 to 1, not {getattr(self, name):.12g}")
        if not 0 < self.kept_labels <= 1:
            raise ValueError(f"train_data.kept_labels is a share over 0, up to 1, not {self.kept_labels:.12g}")
        if self.size <= 0 or (self.size > 1 and self.size != int(self.size)):
            raise ValueError(
                f"train_data.size is a share over 0, up to 1, or a whole number of rows, not {self.size:.12g}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"train_data.seed is a whole number from 0 to {2**32 - 1}, not {self.seed}")
        if self.seed and not self.options():
            raise ValueError(
                "train_data.seed decides which rows are changed; say also how, such as train_data.label_noise=0.2"
            )

    def options(self) -> dict[str, float]:
        """What is asked for: every setting but the seed that is not at its default."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "seed" and getattr(self, field.name) != field.default
        }


@dataclass(frozen=True)
class SeenRows:
    """The rows of one split as a trainer sees them.

    Attributes:
        images: (n,) int64, the rows of the data set whose pictures are shown, each once.
        texts: (n,) int64, the rows whose texts are shown; NO_TEXT for the empty text.
        labels: (n, C) bool.
    """

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def numbers(self, role: str) -> np.ndarray:
        """`images` or `texts`, by modality."""
        return self.images if role == "image" else self.texts

    def items(self, dataset: Dataset, role: str) -> Iterator[Any]:
        """The raw items of a modality, row by row."""
        for row in self.numbers(role).tolist():
            yield "" if row == NO_TEXT else dataset.image(row) if role == "image" else dataset.text(row)


@dataclass(frozen=True)
class Training:
    """All that is trained on.

    Attributes:
        train: the training rows.
        val: the rows held out of them, made harder alike, perhaps none.
        changed: for each option asked for how many rows it changed, or left out; of `kept_labels` how many labels.
    """

    train: SeenRows
    val: SeenRows
    changed: dict[str, int]

    @classmethod
    def of(cls, dataset: Dataset, wanted: TrainData | None = None) -> Training:
        """The rows of a data set, made harder as `wanted`.

        Which rows an option changes depends on the seed and that option alone, not on the size nor on the others
        (of `kept_labels` one: it comes after the noise). What a small share changes, a larger one changes too.

        Raises:
            HashzooError: an option would change nothing, or leaves under two training rows.
        """
        wanted = wanted or TrainData()
        seen = {}
        changed = dict.fromkeys(wanted.options(), 0)
        for stream, split in enumerate(_SPLITS):
            rows = getattr(dataset.splits, split)
            kept = _kept_count(wanted.size, len(rows), dataset.name) if split == "train" else len(rows)
            seen[split], counts = _see(dataset, rows, kept, wanted, stream)
            for name in changed:
                changed[name] += counts[name]
        for name, count in changed.items():
            if not count:
                raise HashzooError(
                    f"train_data.{name}={getattr(wanted, name):.12g} changes nothing of the "
                    f"{len(dataset.splits.train)} training rows of '{dataset.name}'; leave it out or change it"
                )
        return cls(seen["train"], seen["val"], changed)

    def digest(self) -> str:
        """SHA-256 over the row numbers, texts and labels that are seen."""
        parts = [part for rows in (self.train, self.val) for part in (rows.images, rows.texts, rows.labels)]
        return digest([digest(np.ascontiguousarray(part).tobytes()) for part in parts])

    def describe(self, wanted: TrainData) -> dict[str, Any]:
        """What tells a track of harder data from others, as plain JSON."""
        settings = {name: value for name, value in asdict(wanted).items() if name in self.changed or name == "seed"}
        return {"settings": settings, "changed": self.changed, "digest": self.digest()}


def in_words(settings: dict[str, float]) -> str:
    """{"label_noise": 0.2, "seed": 1} as "label noise .2, seed 1": what the titles of tables say."""
    words = {"size": "train size"}
    return ", ".join(
        f"{words.get(name, name.replace('_', ' '))} {f'{value:.12g}'.removeprefix('0') or '0'}"
        for name, value in settings.items()
        if name != "seed" or value
    )


def _see(
    dataset: Dataset, rows: np.ndarray, kept: int, wanted: TrainData, stream: int
) -> tuple[SeenRows, dict[str, int]]:
    """The rows of one split, and what each option changed of them; all is drawn for the whole split, then cut."""
    n, classes = len(rows), len(dataset.classes)

    def words(option: int, shape: tuple[int, ...] = (n,)) -> np.ndarray:
        # numpy promises that the raw stream of a bit generator never changes for a seed.
        raw = np.random.PCG64((wanted.seed, option, stream)).random_raw(int(np.prod(shape)))
        return np.asarray(raw, dtype=np.uint64).reshape(shape)

    def chosen(option: int, share: float) -> np.ndarray:
        mask = np.zeros(n, dtype=bool)
        mask[np.argsort(words(option), kind="stable")[: _rounded(share * n)]] = True
        return mask

    labels = np.array(dataset.labels[rows], dtype=bool)
    noisy = np.zeros(n, dtype=bool)
    if wanted.label_noise:
        noisy = chosen(_NOISY, wanted.label_noise)
        labels[noisy] = _exchange_labels(labels[noisy], words(_NOISE, (n, classes))[noisy])
    left_out = np.zeros_like(labels)
    if wanted.kept_labels < 1:
        positive = np.flatnonzero(labels)
        order = positive[np.argsort(words(_KEPT, (n * classes,))[positive], kind="stable")]
        left_out.flat[order[_rounded(wanted.kept_labels * len(order)) :]] = True
        labels &= ~left_out
    stay = np.sort(np.argsort(words(_SIZE), kind="stable")[:kept]) if kept < n else np.arange(n)
    images = np.asarray(rows)[stay]
    texts = images.copy()
    if wanted.exchanged_texts:
        # One round among those that stay, so that no text of a row that is left out is seen.
        among = np.flatnonzero(chosen(_EXCHANGED, wanted.exchanged_texts)[stay])
        among = among[np.argsort(words(_EXCHANGED)[stay][among], kind="stable")]
        texts[among] = images[np.roll(among, 1)]
    exchanged = int((texts != images).sum())
    if wanted.missing_texts:
        texts[chosen(_MISSING, wanted.missing_texts)[stay]] = NO_TEXT
    changed = {
        "label_noise": int(noisy[stay].sum()),
        "kept_labels": int(left_out[stay].sum()),
        "missing_texts": int((texts == NO_TEXT).sum()),
        "exchanged_texts": exchanged,
        "size": n - kept,
    }
    return SeenRows(images, texts, labels[stay]), changed


def _exchange_labels(labels: np.ndarray, words: np.ndarray) -> np.ndarray:
    """One label of each row, (m, C), gives way to one that the row does not have; both are where `words` is least."""
    last = np.iinfo(words.dtype).max
    lines = np.arange(len(labels))
    changed = labels.copy()
    changed[lines, np.where(labels, words, last).argmin(axis=1)] = False
    changed[lines, np.where(labels, last, words).argmin(axis=1)] |= ~labels.all(axis=1)
    return changed


def _kept_count(size: float, rows: int, name: str) -> int:
    """How many training rows `size` asks for."""
    if size > rows:
        raise HashzooError(f"train_data.size={size:.12g} is more than '{name}' has: {rows} training rows")
    kept = int(size) if size > 1 else _rounded(size * rows)
    if kept < 2:
        raise HashzooError(f"train_data.size={size:.12g} leaves {kept} of {rows} training rows; ask for 2 at least")
    return kept


def _rounded(number: float) -> int:
    return int(number + 0.5)
