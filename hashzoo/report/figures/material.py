"""What figures of a track are drawn from: its results, and on demand the codes and logs of its runs."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

from hashzoo.benches.benchmark import FLOOR_METHOD
from hashzoo.benches.track import Track, title_of
from hashzoo.codes import Codes, load_codes
from hashzoo.errors import HashzooError
from hashzoo.report import rounds
from hashzoo.report.figures.style import Look
from hashzoo.report.table import label_of
from hashzoo.storage.files import file_digest

CODES = tuple(f"{role}_{split}" for role in ("image", "text") for split in ("query", "database"))


class Material:
    """One track as the figures need it.

    Attributes:
        id, title, place: of the track. Of an online one `title` says that it is about the last round, `place` does not.
        stream: how the database arrives, as the track tells it; empty where it does not.
        everything: results of its runs, failed ones too; results: of those that are finished.
        labels: rows of its table that have a finished run. Random codes are left to the lines that show chance exactly,
            unless there is nothing else.
        bits: code lengths that have one, ascending.
        looks: by label.
    """

    def __init__(self, item: dict[str, Any], looks: dict[str, Look]):
        self.everything: list[dict[str, Any]] = item["results"]
        self.id: str = item["track"]["id"]
        self.place = title_of(item["track"])
        self.stream: dict[str, Any] = item["track"].get("stream", {})
        self.title = self.place + (rounds.title(item["track"], over_rounds=False) if self.stream else "")
        self.database: int = item["track"]["counts"]["database"]
        self.results = [result for result in self.everything if result["status"] == "ok"]
        self._labels = {id(result): label_of(result, self.everything) for result in self.results}
        learned = [result for result in self.results if result["method"] != FLOOR_METHOD]
        self.labels = list(dict.fromkeys(self._labels[id(result)] for result in learned or self.results))
        self.bits: list[int] = sorted({result["bits"] for result in self.results})
        self.looks = looks
        self._codes: dict[str, dict[str, Codes] | None] = {}

    def runs(self, label: str, bits: int | None = None) -> list[dict[str, Any]]:
        """The finished runs of a row, of one code length or of all: one a seed."""
        return [r for r in self.results if self._labels[id(r)] == label and bits in (None, r["bits"])]

    @property
    def seeds(self) -> int:
        """The largest number of runs that one point of a figure stands for."""
        return max(len(self.runs(label, bits)) for label in self.labels for bits in self.bits)

    @functools.cached_property
    def track(self) -> Track | None:
        """The labels that stored codes are held against; None, and said, where they cannot be read."""
        try:
            return Track.load(Path(self.results[0]["run"]).parents[1])
        except HashzooError as error:
            not_drawn(f"distances on {self.id}: {error}")
            return None

    def codes(self, result: dict[str, Any]) -> dict[str, Codes] | None:
        """The stored codes of a run (CODES); None, and said once, where they cannot be read."""
        run = result["run"]
        if run not in self._codes:
            try:
                stored = load_codes(Path(run) / "codes.npz")
                missing = [name for name in CODES if name not in stored]
                if missing:
                    raise HashzooError(f"{run}/codes.npz has no '{missing[0]}'; delete the run and make it again")
                self._codes[run] = stored
            except HashzooError as error:
                not_drawn(f"bits and distances of {self._name(result)}: {error}")
                self._codes[run] = None
        return self._codes[run]

    def log(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of a run's training log; none, and said, where there is no log that can be read."""
        path = Path(result["run"]) / "train.jsonl"
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            known = result.get("files", {}).get(path.name)
            if known is not None and file_digest(path) != known["sha256"]:
                raise ValueError("it is not the file that the run wrote")
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError("a line is no object")
            return lines
        except (OSError, ValueError, RecursionError) as error:
            reason = "has none" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            not_drawn(f"the training of {self._name(result)}: its log {path} {reason}; the same bench makes it again")
            return []

    def _name(self, result: dict[str, Any]) -> str:
        return f"{self._labels[id(result)]}, {result['bits']} bits, seed {result['seed']}"


def not_drawn(what: str) -> None:
    """Say on stderr what a figure lacks."""
    print(f"hashzoo: not drawn: {what}", file=sys.stderr)
