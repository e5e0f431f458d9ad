"""What the published benchmark data sets have in common: protocols with their counts, archives, missing pictures."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from hashzoo.data.archives import Source, unpack
from hashzoo.data.base import Splits
from hashzoo.data.download import Remote, download
from hashzoo.data.locks import alone
from hashzoo.data.prepared import Prepared, Rows, write_prepared
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.progress import say
from hashzoo.storage.files import cache_dir, write_error


@dataclass(frozen=True)
class Protocol:
    """One published way to use a data set. The database is every row but the queries; it contains the training rows.

    Attributes:
        pairs: the published number of rows.
        labels: the published number of labels.
        query: how many rows are queries.
        train: how many of the others are training rows.
        seed: of `numpy.random.RandomState(seed).permutation(rows)`, whose first rows are the queries and whose next
            ones the training rows; None for the rows in order.
        rows: which pairs are rows, in which order; and what their texts are.
        origin: who published it, and what of it could not be verified.
    """

    pairs: int
    labels: int
    query: int
    train: int
    seed: int | None
    rows: str
    origin: str

    def split(self, rows: int) -> Splits:
        """The splits of `rows` rows; of the published number of rows, the published splits."""
        if rows <= self.query:
            raise HashzooError(f"{rows:,} pairs were found, no more than the {self.query:,} queries of this protocol")
        # The published rows are those of the legacy generator.
        order = np.arange(rows) if self.seed is None else np.random.RandomState(self.seed).permutation(rows)
        order = order.astype(np.int64)
        return Splits(
            train=order[self.query : self.query + self.train],
            query=order[: self.query],
            database=order[self.query :],
            rule=f"{self.rows}; {self._rule()}; {self.origin}",
        )

    def _rule(self) -> str:
        rows = "rows in order" if self.seed is None else f"a permutation of the rows (NumPy's RandomState({self.seed}))"
        return (
            f"the first {self.query:,} of {rows} are queries, the next {self.train:,} training rows, "
            f"all but the queries are the database"
        )

    def counts(self) -> dict[str, int]:
        """What `verify` compares with."""
        database = self.pairs - self.query
        return {
            "pairs": self.pairs,
            "train": self.train,
            "query": self.query,
            "database": database,
            "labels": self.labels,
        }


@dataclass
class Pairs:
    """All pairs of a protocol in its order, with or without their pictures.

    Attributes:
        classes: C names.
        labels: (M, C) bool.
        texts: M strings.
        images: M paths below `image_root`; "" where the picture is missing.
        image_root: the folder of the pictures.
        features: (M, dim) float arrays by modality.
    """

    classes: Sequence[str]
    labels: np.ndarray
    texts: Sequence[str]
    images: Sequence[str]
    image_root: Path
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


class Benchmark(Prepared):
    """A published data set; a subclass says where its files are and reads them.

    `protocols` holds the published counts. They are data, not code: to try a data set on a part of its files, or in a
    test, replace an entry by one with smaller counts (`dataclasses.replace`).
    """

    base: ClassVar[str]
    protocols: ClassVar[dict[str, Protocol]]  # by variant, the default first
    home: ClassVar[str]  # the page of the data set
    archives: ClassVar[tuple[str, ...]]  # as its site names them
    remotes: ClassVar[Mapping[str, tuple[Remote, ...]]] = {}  # by variant; what hashzoo downloads itself
    terms: ClassVar[str]
    known = frozenset({"empty text", "unused label", "same picture"})

    def __init__(self, variant: str = ""):
        variant = self._variant(variant)
        super().__init__(_folder(self.base) / variant, self._command(variant))
        self.protocol = self.protocols[variant]

    @classmethod
    def prepare(cls, variant: str = "", source: Path | None = None) -> None:  # type: ignore[override]
        """Convert what `source` (a folder or an archive) holds, or download it where that is possible."""
        variant = cls._variant(variant)
        folder = _folder(cls.base)
        with alone(folder):
            if source is None:
                if (folder / variant / "manifest.json").exists():
                    return
                cls._fetch(variant)
                source = folder / "files"
            pairs = cls.read(Source(source, folder / "files", cls.archives), variant)
            splits = cls.protocols[variant].split(len(pairs.labels))
            rows, missing = with_pictures(pairs, splits, source)
            rows.source = {"published": cls.protocols[variant].counts(), "missing_pictures": missing}
            write_prepared(folder / variant, f"{cls.base}/{variant}", rows, cls.terms)
            for remark in cls(variant).notes():
                say(remark)

    @classmethod
    @abstractmethod
    def read(cls, files: Source, variant: str) -> Pairs:
        """All pairs of a protocol, in its order.

        Raises:
            HashzooError: a file is not there, or not of its format.
        """

    def verify(self) -> None:
        """Read every stored byte, and compare with the published numbers."""
        super().verify()
        difference = self._difference()
        if difference and not self.manifest["source"]["missing_pictures"]:
            raise HashzooError(difference, exit_code=1)

    def notes(self) -> list[str]:
        missing = self.manifest["source"]["missing_pictures"]
        if not missing:
            return []
        difference = self._difference()
        return [
            f"{missing:,} pictures are missing, and their rows left out" + (f"; {difference}" if difference else "")
        ]

    def _difference(self) -> str:
        """How the counts differ from the published ones, or ""."""
        found = {
            "pairs": len(self),
            "train": len(self.splits.train),
            "query": len(self.splits.query),
            "database": len(self.splits.database),
            "labels": len(self.classes),
        }
        published = self.protocol.counts()
        parts = [f"{found[name]:,} {name} where {n:,} belong" for name, n in published.items() if found[name] != n]
        return f"differs from the published numbers: {', '.join(parts)}" if parts else ""

    @classmethod
    def _variant(cls, variant: str) -> str:
        if not variant:
            return next(iter(cls.protocols))
        if variant not in cls.protocols:
            raise HashzooError(f"there is no data set '{cls.base}/{variant}'{did_you_mean(variant, cls.protocols)}")
        return variant

    @classmethod
    def _command(cls, variant: str) -> str:
        name = f"{cls.base}/{variant}"
        packed = [remote.name for remote in cls.remotes.get(variant, ())] or cls.archives
        given = f"{name} --from FOLDER, with the folder that holds {', '.join(packed)} ({cls.home})"
        if cls.remotes.get(variant):
            return f"hashzoo datasets prepare {name}, which downloads it, or {given}"
        return f"hashzoo datasets prepare {given}"

    @classmethod
    def missing(cls, what: str) -> HashzooError:
        """The sentence for a part that the given files lack."""
        return HashzooError(
            f"{what} not found; give a folder that holds {', '.join(cls.archives)}, packed or unpacked ({cls.home})"
        )

    @classmethod
    def _fetch(cls, variant: str) -> None:
        """Download and unpack; an archive that is unpacked is removed, and a note that it was is left."""
        wanted = cls.remotes.get(variant, ())
        if not wanted:
            raise HashzooError(f"'{cls.base}/{variant}' is not downloaded by hashzoo: type {cls._command(variant)}")
        folder = _folder(cls.base)
        for remote in wanted:
            done = folder / f".{remote.name}.unpacked"
            if done.exists():
                continue
            otherwise = f"get {remote.name} yourself ({cls.home}) and give its folder with --from"
            archive = download(remote, folder, otherwise=otherwise)
            unpack(archive, folder / "files")
            try:
                done.touch()
                archive.unlink()
            except OSError as error:
                raise write_error(done, error) from error


def with_pictures(pairs: Pairs, splits: Splits, source: Path) -> tuple[Rows, int]:
    """The rows whose pictures are there, in splits that were made of all; and how many are missing."""
    there = np.array([bool(image) for image in pairs.images], dtype=bool)
    if not there.any():
        raise HashzooError(
            f"none of the {len(there):,} pictures is below {source}; give the folder that holds them too"
        )
    number = np.cumsum(there) - 1
    kept = np.flatnonzero(there).tolist()
    parts = {
        name: number[split[there[split]]]
        for name in ("train", "val", "query", "database")
        for split in [getattr(splits, name)]
    }
    rows = Rows(
        pairs.classes,
        pairs.labels[kept],
        Splits(**parts, rule=splits.rule),
        images=[pairs.images[row] for row in kept],
        image_root=pairs.image_root.absolute(),  # it is read again from other working folders
        texts=[pairs.texts[row] for row in kept],
        features={role: array[kept] for role, array in pairs.features.items()},
    )
    return rows, int((~there).sum())


def common_root(*folders: Path) -> Path:
    """The deepest folder that holds all of the given ones."""
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _folder(base: str) -> Path:
    return cache_dir() / "datasets" / base
