"""The tables of the study pages, from recorded results; nothing is trained here."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas

from hashzoo.benches.track import title_of
from hashzoo.report.table import score

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = HERE.parents[1] / "docs" / "studies"
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)

Run = dict[str, Any]  # a result as `run.py` records it, with its track
Value = Callable[[Run], Any]


@dataclass(frozen=True)
class Study:
    """How a study is told.

    Attributes:
        rows: heads of the first columns, and what stands there; runs that agree in all of them are one row.
        across: what the columns are; mAP is then the mean of both directions. None: a column a direction, and both.
        measured: further columns: the mean over the runs of a row.
        compared: pairs of rows, in the words of the tables of `hashzoo bench`, whose difference is tested.
        facts: further lines, each a name and a number.
        within: differences are tested among the runs that agree in it, whatever encoders they have.
        scatter: the figure shows the measured column against mAP, a dot a run.
    """

    title: str
    rows: Mapping[str, Value]
    across: Value | None = None
    measured: Mapping[str, Value] = field(default_factory=dict)
    compared: tuple[tuple[str, str], ...] = ()
    facts: Callable[[list[Run]], dict[str, str]] | None = None
    within: Value | None = None
    scatter: bool = False


def setting(name: str, default: Any = "") -> Value:
    return lambda run: run["settings"].get(name, default)


def last(stage: str, term: str) -> Value:
    """A loss term in the last epoch of a stage, as it entered the loss."""
    return lambda run: run["last_epoch"][stage][term]


def method(run: Run) -> str:
    return run["method"]


def changed(run: Run) -> str:
    """All settings that are not at their defaults, in the words of --set."""
    return ", ".join(f"{name.partition('.')[2]}={value}" for name, value in run["settings"].items())


def both(run: Run) -> float:
    """The mean of both directions."""
    return statistics.fmean(run["map"].values())


def label_map(run: Run) -> float:
    return run["measured"]["image_to_label_map"]


def record_of(name: str) -> dict[str, Any]:
    """The recorded result of a study."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def written(name: str) -> str:
    """The page of a study with its blocks made from the recorded result."""
    blocks = blocks_of(STUDIES[name], record_of(name))

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{blocks[match[2]]}{match[3]}"

    return BLOCK.sub(block, (PAGES / f"{name}.md").read_text(encoding="utf-8"))


def blocks_of(study: Study, record: dict[str, Any]) -> dict[str, str]:
    """Markdown by the name of its block: "table", "tests", "facts" and "made"."""
    runs = runs_of(record)
    return {
        "table": table(study, runs),
        "tests": tests(record["comparisons"], {track["track"]["id"]: track["track"] for track in record["tracks"]}),
        "facts": "".join(f"- {name}: {value}\n" for name, value in (study.facts(runs) if study.facts else {}).items()),
        "made": made(record, runs),
    }


def runs_of(record: dict[str, Any]) -> list[Run]:
    """All runs of a record, each once, with the track that it belongs to."""
    return [run | {"track": track["track"]} for track in record["tracks"] for run in track["results"]]


def grouped(study: Study, runs: Iterable[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """The runs of each row of the table; the method of the random floor has none."""
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run["method"] != "random":
            groups[tuple(value(run) for value in study.rows.values())].append(run)
    return groups


def scores(study: Study, groups: Mapping[tuple[Any, ...], list[Run]]) -> dict[str, Callable[[list[Run]], list[float]]]:
    """The columns of the table that are an mAP: what each shows of the runs of a row."""
    if study.across is None:
        directions: dict[str, Value] = {"i2t": lambda run: run["map"]["i2t"], "t2i": lambda run: run["map"]["t2i"]}
        return {name: _all(value) for name, value in {**directions, "mean of both": both}.items()}
    names = dict.fromkeys(study.across(run) for group in groups.values() for run in group)
    return {name: _only(study.across, name, both) for name in names}


def table(study: Study, runs: Iterable[Run]) -> str:
    """Mean and deviation over the runs of each row."""
    groups = grouped(study, runs)
    columns = scores(study, groups) | {name: _all(value) for name, value in study.measured.items()}
    lines = [line([*study.rows, *columns]), line([":--"] * len(study.rows) + ["--:"] * len(columns))]
    for key, group in groups.items():
        heads = [f"`{part}`" if "{" in str(part) else str(part) for part in key]
        lines.append(line([*heads, *(spread(values(group)) for values in columns.values())]))
    return "".join(lines)


def spread(values: list[float]) -> str:
    """Mean and deviation, as the tables of `hashzoo bench` print them."""
    if not values:
        return ""
    deviation = f"±{score(statistics.stdev(values))}" if len(values) > 1 else ""
    return f"{signed(statistics.fmean(values))}{deviation}"


def signed(value: float) -> str:
    """Three digits without the zero before the point, with its sign below zero."""
    return f"{value:.3f}" if abs(value) >= 1 else ("-" if value < 0 else "") + score(abs(value))


def tests(comparisons: Iterable[dict[str, Any]], tracks: Mapping[str, dict[str, Any]]) -> str:
    """Differences of the mean of both directions, each with its interval and p."""
    heads = ["data", "bits", "a", "b", "a - b", "95 % interval", "p"]
    lines = [line(heads), line([":--", "--:", ":--", ":--", "--:", "--:", "--:"])]
    for row in comparisons:
        low, high = map(signed, row["interval"])
        data = ", ".join([title_of(tracks[row["track"]]), *([row["within"]] if "within" in row else [])])
        words = [data, str(row["bits"]), *row["rows"]]
        lines.append(line([*words, signed(row["difference"]), f"{low} to {high}", f"{row['p']:.4f}"]))
    return "".join(lines)


def made(record: dict[str, Any], runs: list[Run]) -> str:
    """What made the numbers."""
    seeds = len({run["seed"] for run in runs})
    count = sum(run["method"] != "random" for run in runs)
    floors = sorted({score(run["floor"]) for run in runs})
    return f"{count} runs, {seeds} seed{'s' if seeds > 1 else ''}; chance {', '.join(floors)}; {sources(record)}.\n"


def sources(record: dict[str, Any]) -> str:
    """The plugins of a record with their sources, and the versions of packages."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()) if version)
    plugins = ", ".join(f"{p['distribution']} {p['version']} (source {p['digest'][:8]})" for p in record["plugins"])
    return f"{plugins}; {versions}"


def rank_correlation(one: list[float], other: list[float]) -> float:
    """Spearman's."""
    return float(pandas.Series(one).rank().corr(pandas.Series(other).rank()))


def teacher_facts(runs: list[Run]) -> dict[str, str]:
    runs = [run for run in runs if run["method"] != "random"]
    teacher, final = [label_map(run) for run in runs], [both(run) for run in runs]
    best = max(final)
    enough = min(t for t, f in zip(teacher, final, strict=True) if f >= best - 0.01)
    return {
        "rank correlation (Spearman) of the teacher's image-to-label mAP and the mean of both directions": signed(
            rank_correlation(teacher, final)
        ),
        "the lowest image-to-label mAP of a run within .010 of the best run": score(enough),
    }


def direction_facts(runs: list[Run]) -> dict[str, str]:
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        for direction, value in run["map"].items():
            means[run["method"], direction].append(value)
    return {
        f"soda less {other}, {direction}, mean over all lengths and seeds": signed(
            statistics.fmean(means["soda", direction]) - statistics.fmean(means[other, direction])
        )
        for other in ("dcmh", "resnet")
        for direction in ("i2t", "t2i")
    }


def harder(name: str, default: float) -> Value:
    """A setting of the training data, as a percentage."""
    return lambda run: f"{100 * run['track'].get('training', {}).get('settings', {}).get(name, default):.0f} %"


FEATURES = {
    ("lite0", "minilm"): "pretrained: lite0, minilm",
    ("lite0", "bow"): "pretrained images, bag of words",
    ("timm:lcnet_050", "bow"): "images trained on the training rows, bag of words",
}


def features(run: Run) -> str:
    """What the towers see, in words."""
    if run["random_weights"]:
        return "untrained: lite0, minilm"
    return FEATURES[run["encoders"]["image"], run["encoders"]["text"]]


def labelled(run: Run) -> str:
    """The method, and how its teacher sees labels where that is set."""
    labels = run["settings"].get("trainer.labels")
    return f"{run['method']}, labels as {labels}" if labels else run["method"]


def noise_facts(runs: list[Run]) -> dict[str, str]:
    """What each method loses from clean labels to the most wrong ones, and to the fewest."""
    means: dict[tuple[str, float, float], list[float]] = defaultdict(list)
    for run in runs:
        asked = run["track"].get("training", {}).get("settings", {})
        means[run["method"], asked.get("label_noise", 0.0), asked.get("kept_labels", 1.0)].append(both(run))
    methods = [name for name in dict.fromkeys(run["method"] for run in runs) if name != "random"]
    return {
        f"{name} with {words} less with all labels right": signed(
            statistics.fmean(means[name, noise, kept]) - statistics.fmean(means[name, 0.0, 1.0])
        )
        for noise, kept, words in ((0.4, 1.0, "40 % of the rows wrong"), (0.0, 0.1, "10 % of the labels kept"))
        for name in methods
    }


def _all(value: Value) -> Callable[[list[Run]], list[float]]:
    return lambda group: [value(run) for run in group]


def _only(across: Value, name: Any, value: Value) -> Callable[[list[Run]], list[float]]:
    return lambda group: [value(run) for run in group if across(run) == name]


def line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


OTHERS = (("soda", "dcmh"), ("soda", "resnet"))
STUDIES: dict[str, Study] = {
    "weights": Study(
        "The weights of the binarisation penalties",
        {"alpha": setting("trainer.alpha", 0.1), "beta": setting("trainer.beta", 0.1)},
        measured={
            "teacher, likelihood": last("teacher", "likelihood"),
            "teacher, binarisation": last("teacher", "binarisation"),
            "student, likelihood": last("student", "likelihood"),
            "student, binarisation": last("student", "binarisation"),
        },
        compared=(
            ("soda trainer.alpha=0.1", "soda trainer.alpha=0.0"),
            ("soda trainer.alpha=0.1", "soda trainer.beta=0.0"),
        ),
    ),
    "prompts": Study(
        "Label prompts",
        {
            "prompt": setting("trainer.prompt", "none: 0/1 vectors"),
            "several labels": setting("trainer.join"),
        },
        measured={"image to label": label_map},
        compared=(
            ("soda trainer.join=joined trainer.prompt=An image of {}.", "soda trainer.join=joined trainer.prompt={}"),
            ("soda trainer.join=joined trainer.prompt=An image of {}.", "soda trainer.labels=vectors"),
        ),
    ),
    "teacher": Study(
        "How good must the teacher be?",
        {"teacher epochs": setting("trainer.teacher_epochs")},
        measured={"image to label": label_map},
        facts=teacher_facts,
        scatter=True,
    ),
    "stages": Study(
        "Frozen image codes, free ones, or no teacher",
        {
            "student": setting("trainer.student", "frozen"),
            "targets": setting("trainer.targets", "codes"),
        },
        compared=(
            ("soda trainer.student=frozen", "soda trainer.student=free"),
            ("soda trainer.student=frozen", "soda trainer.student=none"),
        ),
    ),
    "lengths": Study(
        "From 8 to 256 bits, and which direction gains",
        {"bits": lambda run: run["bits"]},
        across=method,
        compared=OTHERS,
        facts=direction_facts,
    ),
    "sets": Study(
        "A contrast over label sets",
        {"method": method, "settings": changed},
        compared=(
            ("soda-sets", "soda"),
            ("soda-sets", "dcmh"),
            ("soda-sets", "resnet"),
            ("soda", "resnet"),
            ("soda-sets", "soda trainer.student=free"),
            ("soda-sets", "soda-sets trainer.teacher_contrast=0.0"),
            ("soda-sets", "soda-sets trainer.student_contrast=0.0"),
        ),
    ),
    "folds": Study("Five-fold cross-validation", {"method": method}),
    "noise": Study(
        "Wrong labels and missing ones",
        {"wrong": harder("label_noise", 0), "kept": harder("kept_labels", 1)},
        across=method,
        compared=OTHERS,
        facts=noise_facts,
    ),
    "features": Study(
        "The distillation or the features?",
        {"features": features},
        across=labelled,
        compared=tuple(
            ("soda trainer.labels=prompts", other) for other in ("dcmh", "resnet", "soda trainer.labels=vectors")
        ),
        within=features,
    ),
    "wiki": Study(
        "The studies again on wiki",
        {"bits": lambda run: run["bits"], "method": method, "settings": changed},
        compared=(
            *OTHERS,
            ("soda-sets", "soda"),
            ("soda-sets", "resnet"),
            ("soda", "soda trainer.student=free"),
            ("soda", "soda trainer.student=none"),
            ("soda", "soda trainer.alpha=0.0"),
            ("soda", "soda trainer.beta=0.0"),
            ("soda", "soda trainer.teacher_epochs=10"),
        ),
    ),
}
