"""One cell: a method, its encoders, a code length and a seed, trained, measured and kept on disk.

runs/<track>/<method>/<encoders>-<bits>-s<seed>-<key8>/
    run.json            everything that can change the outcome, and where each setting came from
    train.jsonl         one line an epoch
    model.safetensors   the towers
    codes.npz           packed codes of query and database rows, both modalities
    per_query.npz       average precision of each query, both directions
    rounds.json, .npz   of an online run: what each round took, and its codes (see `hashzoo.benches.rounds`)
    result.json         written last: its presence means that the run is complete
    error.txt           instead, when the run failed
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hashzoo import zoo
from hashzoo.benches.records import files_of, key_of
from hashzoo.benches.rounds import changed, save_rounds, score_rounds
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench, plugin_card
from hashzoo.codes import Codes, health, save_codes
from hashzoo.errors import one_line
from hashzoo.features.cache import widths_of
from hashzoo.fitting import (
    encode_rows,
    encoding_cost,
    fit,
    fit_rounds,
    learns_online,
    log_line,
    make_job,
    seeded,
    state_bytes,
)
from hashzoo.online import Rounds
from hashzoo.recipe import ROLES, Cell, Recipe
from hashzoo.storage.files import (
    StorageError,
    atomic_write,
    write_arrays,
    write_error,
    write_json,
)

VERSIONS = ("hashzoo", "torch", "timm", "open_clip_torch", "transformers", "numpy", "safetensors")


def describe(bench: Workbench, recipe: Recipe, cell: Cell) -> dict[str, Any]:
    """Everything that can change the codes of a run: the preimage of its key, and what run.json holds."""
    plugins = {plugin.name: plugin_card(plugin) for plugin in (zoo.load().plugins[0], *recipe.plugins())}
    return {
        "schema": 1,
        "track": bench.track.describe(),
        "method": cell.method,
        "recipe": {
            "heads": [recipe.method.image_head, recipe.method.text_head],
            "loss": recipe.method.loss,
            "trainer": recipe.method.trainer,
            **({"trained": "online" if learns_online(recipe) else "offline"} if bench.track.stream else {}),
        },
        "encoders": {
            role: {"name": name, "card": bench.described(recipe, role).card} for role, name in recipe.encoders.items()
        },
        "settings": recipe.settings(),
        "bits": cell.bits,
        "seed": cell.seed,
        "plugins": plugins,
        "device": device_name(bench.device),
        "threads": recipe.threads(bench.threads),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that can change a number."""
    return {name: version for name in VERSIONS if (version := _version(name))}


def typed_settings(description: dict[str, Any]) -> dict[str, Any]:
    """The settings that the user typed: what a table shows beside the method's name. Tuples are lists, as in JSON."""
    typed = {name: s["value"] for name, s in description["settings"].items() if s["origin"] == "user"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in typed.items()}


def folder_of(runs: Path, track: Track, cell: Cell, encoders: dict[str, str], key: str) -> Path:
    """Where a run is kept. Names are made readable, the key keeps them apart."""
    pair = "+".join("".join(c if c.isalnum() or c in "._-" else "-" for c in encoders[role]) for role in ROLES)
    return runs / track.id / cell.method / f"{pair}-{cell.bits}-s{cell.seed}-{key[:8]}"


@dataclass(frozen=True)
class Planned:
    """A run that is to be made.

    Attributes:
        folder: where it is kept.
        description: what `describe` says of it.
        request: digest of what was typed; a later bench finds the finished run by it without importing torch.
        dataset_settings: of the data set, by path; kept, and no part of the key: its content is.
    """

    recipe: Recipe
    cell: Cell
    folder: Path
    description: dict[str, Any]
    request: str
    dataset_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Digest of everything that can change the codes."""
        return key_of(self.description)


def train_cell(
    bench: Workbench, planned: Planned, watch: Callable[[dict[str, Any]], None] = lambda line: None
) -> dict[str, Any]:
    """Train one cell, keep it in its folder, and give back its result. A failure is kept and given back too.

    Args:
        watch: sees each line of train.jsonl as it is written.
    """
    result, folder = _begin(bench, planned), planned.folder
    try:
        for role in planned.recipe.encoders:
            bench.encoded(planned.recipe, role)  # features are shared by all cells: their seconds belong to none
        fitted = _fit_and_encode(bench, planned, watch)
        codes, rounds = fitted.codes, fitted.rounds
        start = time.perf_counter()
        scores, per_query = bench.track.score(codes)
        if rounds is not None:
            scores |= score_rounds(bench.track, codes, changed(rounds.codes), rounds.about)
        seconds = fitted.seconds | {"evaluate": time.perf_counter() - start}
    except StorageError:
        raise
    except (Exception, SystemExit) as error:
        return _failed(result, folder, one_line(error), traceback.format_exc())
    save_codes(folder / "codes.npz", **codes)
    if rounds is not None:
        save_rounds(folder, changed(rounds.codes), rounds.about)
    write_arrays(folder / "per_query.npz", per_query)
    result |= {
        "status": "ok",
        **scores,
        "health": {role: health(codes[f"{role}_database"]) for role in ROLES},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        **({"taken_over": round(fitted.taken_over, 3)} if fitted.taken_over else {}),
        "cost": fitted.cost,
        "files": files_of(folder),
    }
    write_json(folder / "result.json", result)
    return result


def fail_cell(bench: Workbench, planned: Planned, reason: str) -> dict[str, Any]:
    """Keep why a cell could not be trained, where its own process could not; its result. Else as `train_cell`."""
    return _failed(_begin(bench, planned), planned.folder, reason)


def _begin(bench: Workbench, planned: Planned) -> dict[str, Any]:
    """Make the folder of a run with its run.json alone, and what its result holds whatever comes of it."""
    recipe, cell, folder, description = planned.recipe, planned.cell, planned.folder, planned.description
    asked = {"key": planned.key, "request": planned.request}
    result = {
        "schema": 1,
        **asked,
        "method": cell.method,
        "encoders": dict(recipe.encoders),
        "random_weights": [r for r, e in description["encoders"].items() if e["card"].get("weights") == "random"],
        "settings": typed_settings(description),
        "bits": cell.bits,
        "seed": cell.seed,
        "train_data": bench.track.training.get("settings", {}),
        **{name: value for name, value in description["recipe"].items() if name == "trained"},
        "plugin": {
            "name": recipe.plugin.name,
            "distribution": recipe.plugin.distribution,
            "version": recipe.plugin.version,
            "digest": description["plugins"][recipe.plugin.name]["digest"],
        },
        "status_of_constants": recipe.method.status,
    }
    killed = [path.name for path in folder.glob(".*.part")]  # what a process that was killed had begun to write
    for leftover in ("result.json", "error.txt", "rounds.npz", *killed):
        try:
            (folder / leftover).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(folder / leftover, error) from error
    about = {
        **asked,
        "plugin": result["plugin"],
        "dataset_settings": planned.dataset_settings,
        "classes": list(bench.dataset.classes),  # these two are what a model is built from again
        "widths": {role: widths_of(bench.described(recipe, role), recipe.outputs(role)) for role in ROLES},
    }
    write_json(folder / "run.json", description | about)
    return result


def _failed(result: dict[str, Any], folder: Path, reason: str, trace: str = "") -> dict[str, Any]:
    with atomic_write(folder / "error.txt", "w") as file:
        file.write("\n\n".join(filter(None, (reason, trace))))
    return result | {"status": "failed", "reason": reason}


class _Fitted(NamedTuple):
    """What comes of a training.

    Attributes:
        codes: of the query and database rows.
        seconds: that the cell takes alone.
        taken_over: those of them that other cells took for it.
        cost: of encoding a row.
        rounds: on a stream.
    """

    codes: dict[str, Codes]
    seconds: dict[str, float]
    taken_over: float
    cost: dict[str, dict[str, int]]
    rounds: Rounds | None


def _fit_and_encode(bench: Workbench, planned: Planned, watch: Callable[[dict[str, Any]], None]) -> _Fitted:
    """Fit the towers, keep them, and encode the query and database rows of both modalities; in rounds, on a stream."""
    recipe, cell, folder = planned.recipe, planned.cell, planned.folder
    with _append_lines(folder / "train.jsonl") as append, seeded(cell.seed, recipe.threads(bench.threads)):

        def log(**terms: Any) -> None:
            line = log_line(terms)
            append(line)
            watch(line)

        rounds, taken_over = None, 0.0
        if bench.track.stream:
            towers, rounds = fit_rounds(bench, recipe, cell, log)
            codes, seconds = rounds.codes[-1], rounds.seconds
        else:
            start = time.perf_counter()
            job = make_job(bench, recipe, cell, log)
            towers = fit(recipe, job)
            trained = time.perf_counter()
            codes = encode_rows(bench, recipe, cell, towers)
            taken_over = job.common.seconds if job.common is not None else 0.0
            seconds = {"train": trained - start + taken_over, "encode": time.perf_counter() - trained}
    with atomic_write(folder / "model.safetensors") as file:
        file.write(state_bytes(towers))
    return _Fitted(codes, seconds, taken_over, encoding_cost(bench, recipe, towers), rounds)


@contextlib.contextmanager
def _append_lines(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A JSON-lines file that is written as the training goes, from the start."""
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed below; only our own writes are translated
    except OSError as error:
        raise write_error(path, error) from error

    def append(line: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(line) + "\n")
            file.flush()
        except OSError as error:
            raise write_error(path, error) from error

    with contextlib.closing(file):
        yield append


def device_name(device: torch.device) -> str:
    """What the device is, in the words of its driver; results of two devices are not byte-identical."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
