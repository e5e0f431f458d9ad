"""A track: what may share a table. Data set, splits and protocol by their digests, and the labels that score codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashzoo import zoo
from hashzoo.benches.records import RESULT, TRACK_FILE, read_record
from hashzoo.codes import Codes
from hashzoo.data import stream as streams
from hashzoo.data.training import TrainData, Training, in_words
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest, read_arrays, write_arrays, write_json

if TYPE_CHECKING:
    from hashzoo.data import Dataset

PROTOCOL = "expected"
DIRECTIONS = {"i2t": ("image", "text"), "t2i": ("text", "image")}


@dataclass
class Track:
    """Labels of query and database rows, (Q, C) and (D, C) bool, and what they were made from."""

    dataset: str
    fingerprint: str
    splits: str
    rule: str
    counts: dict[str, int]
    query_labels: np.ndarray
    database_labels: np.ndarray
    protocol: str = PROTOCOL
    overlap: str = ""  # how query rows stand in other splits too, where that was allowed
    training: dict[str, Any] = field(default_factory=dict)  # how training data were made harder; {}: not at all
    stream: dict[str, Any] = field(default_factory=dict)  # how the database arrives; {}: it is there from the start
    fold: dict[str, Any] = field(default_factory=dict)  # which one of how many, of which partition; {}: none
    _limits: dict[int, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        train_data: TrainData | None = None,
        allow_overlap: bool = False,
        stream: dict[str, Any] | None = None,
    ) -> Track:
        """The track of a data set in good order; query rows that leak are an error, or noted if allowed.

        `stream` is what `Stream.arrange` gave with the data set.
        """
        dataset.check(allow_overlap)
        train_data = train_data or TrainData()
        seen = Training.of(dataset, train_data)
        splits = dataset.splits
        counts = {name: len(getattr(splits, name)) for name in ("train", "val", "query", "database")}
        counts["train"] = len(seen.train)
        return cls(
            dataset.name,
            dataset.fingerprint(),
            splits.digest(),
            splits.rule,
            counts | {"labels": len(dataset.classes)},
            dataset.labels[splits.query],
            dataset.labels[splits.database],
            overlap="; ".join(dataset.overlaps),
            training=seen.describe(train_data) if train_data.options() else {},
            stream=stream or {},
            fold=asdict(dataset.fold) if dataset.fold else {},
        )

    def describe(self) -> dict[str, Any]:
        """The track as plain JSON; two runs are comparable exactly if this is equal."""
        described = {
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "splits": self.splits,
            "rule": self.rule,
            "protocol": self.protocol,
            "counts": self.counts,
        }
        beside = {"overlap": self.overlap, "training": self.training, "stream": self.stream, "fold": self.fold}
        return described | {name: value for name, value in beside.items() if value}

    @property
    def train_data(self) -> TrainData:
        """How training data were made harder."""
        return TrainData(**self.training.get("settings", {}))

    @property
    def id(self) -> str:
        readable = "".join(c if c.isalnum() or c in "._-" else "-" for c in self.dataset)
        marks = f"{'-online' if self.stream else ''}{'-overlap' if self.overlap else ''}"
        return f"{readable}{marks}-{digest(self.describe())[:8]}"

    def score(self, codes: Mapping[str, Codes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Metrics of both directions, the random-code floor and the label-oracle ceiling at this code length.

        Args:
            codes: "image_query", "image_database", "text_query" and "text_database".

        Returns:
            What a result holds, as plain JSON, and each query's average precision as "i2t" and "t2i", (Q,) float64.
        """
        from hashzoo.evaluator import evaluate

        labels = self.query_labels, self.database_labels
        scores, per_query = {}, {}
        for direction, (query, database) in DIRECTIONS.items():
            pair = codes[f"{query}_query"], codes[f"{database}_database"]
            found = evaluate(*pair, *labels, protocol=self.protocol, per_query=True)
            scores[direction], per_query[direction] = found.scores, found.per_query["map"]
        floor, ceiling = self.limits(codes["image_query"].bits)
        summary = {"scores": scores, "floor": floor, "ceiling": ceiling, "evaluator": evaluator_digest()}
        return summary, per_query

    def limits(self, bits: int) -> tuple[float, float]:
        """mAP of random codes, exactly, and of codes made from the true labels."""
        from hashzoo.evaluator import ceiling, floor

        if bits not in self._limits:
            labels = self.query_labels, self.database_labels
            self._limits[bits] = floor(*labels), ceiling(*labels, bits)
        return self._limits[bits]

    def save(self, folder: Path) -> None:
        """Keep the track beside its runs, so that codes can be scored again without the data set."""
        if (folder / "track.json").exists():
            return
        packed = {"query": self.query_labels, "database": self.database_labels}
        write_arrays(folder / "labels.npz", {name: np.packbits(labels, axis=1) for name, labels in packed.items()})
        write_json(folder / "track.json", {"schema": 1, **self.describe()})

    @classmethod
    def load(cls, folder: Path) -> Track:
        """The track of a folder of runs."""
        if not (folder / "track.json").exists():
            raise HashzooError(f"{folder} has no track.json; give a run that lies in a runs folder of hashzoo bench")
        try:
            stored = read_record(folder / "track.json", TRACK_FILE, "it must be written again")
            packed = read_arrays(folder / "labels.npz")
            counts = stored["counts"]
            for name in ("query", "database"):
                shape = counts[name], -(-counts["labels"] // 8)
                if name not in packed or packed[name].dtype != np.uint8 or packed[name].shape != shape:
                    raise HashzooError(f"labels.npz does not hold the {counts[name]:,} {name} rows that it must")
            labels = {
                name: np.unpackbits(packed[name], axis=1, count=counts["labels"]).astype(bool)
                for name in ("query", "database")
            }
            stored.pop("schema")
            return cls(**stored, query_labels=labels["query"], database_labels=labels["database"])
        except HashzooError as error:
            raise HashzooError(
                f"the track in {folder} is damaged ({error}); delete its track.json, and the same bench writes "
                f"it again",
                exit_code=1,
            ) from error


def title_of(track: Mapping[str, Any]) -> str:
    """The data set of a described track, and what is special about it: "emoji, online in chunks of 200"."""
    harder = track.get("training", {}).get("settings", {})
    fold = track.get("fold")
    which = f"fold {fold['number']} of {fold['of']}" if fold else ""
    which = f"{fold['of']}-fold cross-validation" if fold and "folds" in track else which
    swept = ", ".join(f"{name.partition('.')[2]} {value}" for name, value in track.get("swept", {}).items())
    arrival = streams.in_words(track.get("stream", {}))
    share = f"share {track['shard']['number']} of {track['shard']['of']}" if "shard" in track else ""
    return ", ".join(filter(None, (track["dataset"], swept, arrival, in_words(harder), which, share)))


def read_result(path: Path) -> dict[str, Any]:
    """The result of a run; a file that has not every field of a result, of its type, is an error that names it."""
    return read_record(path, RESULT)


def evaluator_digest() -> str:
    """SHA-256 over the code that turns codes into scores: when it changes, stored codes are scored again."""
    return digest(
        [
            zoo.source_digest("hashzoo.evaluator"),
            zoo.source_digest("hashzoo", "kernels.py", "benches/track.py", "benches/rounds.py"),
        ]
    )
