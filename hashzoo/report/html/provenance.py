"""Where the runs of a track come from: settings, sources, versions, and the command that makes them again."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashzoo.benches.reopening import Opened, opened_as
from hashzoo.report.table import further, label_of
from hashzoo.storage.files import canonical_json, read_json

# What is told once for all runs that have it in common; they differ in code length, seed and outcome.
SHARED = ("recipe", "encoders", "settings", "plugins", "device", "threads", "versions")


@dataclass(frozen=True)
class Made:
    """Runs of one row that were made in the same way.

    Attributes:
        label: of the row.
        about: what the runs have in common, as `run.json` says it: SHARED, "plugin" and "status_of_constants".
        commands: each makes some of the runs again; together all.
        opened: whether it is known how the data set was opened, so that the commands open it alike.
        results: of the runs, as `collect` gives them, each with its key.
    """

    label: str
    about: dict[str, Any]
    commands: tuple[str, ...]
    opened: bool
    results: tuple[dict[str, Any], ...]


def provenance(track: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[Made]:
    """The runs of one track, as `collect` gives them, grouped by how they were made."""
    groups: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for result in results:
        asked = read_json(Path(result["run"]) / "run.json")
        about = {name: asked.get(name, {}) for name in SHARED}
        about |= {name: result.get(name, "") for name in ("plugin", "status_of_constants")}
        whole = result | {"key": asked.get("key", "")}
        groups[label_of(result, results), canonical_json(about)].append((about, whole))
    opened = opened_as(Path(results[0]["run"]).parents[1]) if results else None
    made = []
    for (label, _), runs in groups.items():
        about, same = runs[0][0], tuple(result for _, result in runs)
        made.append(Made(label, about, tuple(_commands(track, about, same, opened)), opened is not None, same))
    return made


def _commands(
    track: dict[str, Any],
    about: dict[str, Any],
    results: Iterable[dict[str, Any]],
    opened: Opened | None,
) -> Iterator[str]:
    """One `hashzoo bench` for all code lengths that were run with the same seeds."""
    by_length: dict[int, set[int]] = defaultdict(set)
    for result in results:
        by_length[result["bits"]].add(result["seed"])
    by_seeds: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for length, with_length in by_length.items():
        by_seeds[tuple(sorted(with_length))].append(length)
    how = opened or Opened(track["dataset"])
    typed = {path: one["value"] for path, one in about["settings"].items() if one["origin"] == "user"}
    harder = track.get("training", {}).get("settings", {})
    first = next(iter(results))
    settings = [
        *how.settings,
        *(f"train_data.{option}={as_typed(value)}" for option, value in harder.items()),
        *(f"{path}={as_typed(value)}" for path, value in typed.items()),
        *(f"{role}.encoder={name}" for role, name in further(first).items()),
    ]
    for seeds, bits in by_seeds.items():
        words = [
            "hashzoo",
            "bench",
            "--method",
            first["method"],
            "--bits",
            _listed(sorted(bits)),
            "--dataset",
            how.name,
        ]
        words += ["--encoders", f"{first['encoders']['image']}+{first['encoders']['text']}"]
        words += ["--seeds", _listed(seeds)]
        for setting in settings:
            words += ["--set", setting]
        words += ["--device", "cpu" if about["device"] == "cpu" else "cuda", "--threads", str(about["threads"])]
        words += ["--allow-overlap"] if track.get("overlap") else []
        if how.fold:
            words += ["--folds", str(how.fold[1]), "--fold-seed", str(how.fold[2])]
        yield shlex.join(words)


def as_typed(value: Any) -> str:
    """The value of a setting as it is typed behind its equals sign (the inverse of `settings.convert`)."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(as_typed, value))
    return str(value)


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
