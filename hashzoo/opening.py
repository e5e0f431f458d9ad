"""Data sets by the names that users type, with their settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from hashzoo import zoo
from hashzoo.data import Dataset
from hashzoo.data.training import TrainData
from hashzoo.errors import HashzooError, one_line
from hashzoo.recipe import GIVEN
from hashzoo.settings import Assignment, Value, keywords, plain, resolve


def open_dataset(name: str, assignments: Iterable[Assignment] = ()) -> Dataset:
    """A data set by the name that users type, with its `dataset.*` settings; prepared if need be.

    What follows a slash is its variant ("emoji/full"), what follows a colon its argument ("table:photos.csv").
    """
    target, settings = dataset_class(name, assignments)
    try:
        dataset = target(**settings)
        lacking = [
            attribute for attribute in ("name", "classes", "labels", "splits") if not hasattr(dataset, attribute)
        ]
        if lacking:
            raise HashzooError(
                f"data set '{name}' does not set {' and '.join(lacking)}; see docs/plugin.md", exit_code=1
            )
        return dataset
    except HashzooError:
        raise
    except ValueError as error:
        raise HashzooError(f"data set '{name}' refuses its settings: {error}") from error
    except Exception as error:
        raise HashzooError(f"data set '{name}' cannot be opened: {one_line(error)}", exit_code=1) from error


def train_data(assignments: Iterable[Assignment]) -> TrainData:
    """What `train_data.*` settings ask for."""
    try:
        return TrainData(**plain(resolve("train_data", TrainData, {}, assignments)))
    except ValueError as error:
        raise HashzooError(str(error)) from error


def dataset_settings(name: str, assignments: Iterable[Assignment] = ()) -> Mapping[str, Value]:
    """Every setting of a data set, "size" for `dataset.size`, with its origin."""
    return resolve("dataset", _target(name), {}, assignments, GIVEN["dataset"])


def dataset_class(name: str, assignments: Iterable[Assignment] = ()) -> tuple[type[Dataset], dict[str, Any]]:
    """The class behind the name of a data set, and its constructor keywords."""
    typed, colon, argument = name.partition(":")
    base, _, variant = typed.partition("/")
    target = _target(name)
    chosen = plain(dataset_settings(name, assignments))
    if variant:
        if "variant" not in keywords(target):
            raise HashzooError(f"data set '{base}' has no variants; type {base}")
        chosen["variant"] = variant
    takes = "argument" in inspect.signature(target).parameters
    if colon and not takes:
        raise HashzooError(f"data set '{base}' takes nothing after a colon; type {typed}")
    if takes and not argument:
        raise HashzooError(f"data set '{base}' needs to know what to read; type {base}:PATH")
    if takes:
        chosen["argument"] = argument
    return target, chosen


def _target(name: str) -> type[Dataset]:
    plugin, part = zoo.load().find("dataset", name.partition(":")[0].partition("/")[0])
    return zoo.resolve_target(plugin, part.target)
