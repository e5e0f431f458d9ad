"""One cell: a method, its encoders, a code length and a seed, trained, measured and kept on disk.

runs/<track>/<method>/<encoders>-<bits>-s<seed>-<key8>/
    run.json            everything that can change the outcome, and where each setting came from
    train.jsonl         one line an epoch
    model.safetensors   the towers
    codes.npz           packed codes of query and database rows, both modalities
    per_query.npz       average precision of each query, both directions
    rounds.json, .npz   of an online run: what each round took, and its codes (see `hashzoo.rounds`)
    result.json         written last: its presence means that the run is complete
    error.txt           instead, when the run failed
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from hashzoo import zoo
from hashzoo.arrays import take
from hashzoo.codes import Codes, health, pack, save_codes
from hashzoo.data import Dataset
from hashzoo.data.stream import chunks
from hashzoo.data.training import SeenRows, Training
from hashzoo.encoders.base import Encoder, state_digest
from hashzoo.encoders.described import Described, recalled, remember
from hashzoo.encoders.lookup import Lookup
from hashzoo.encoders.trained import check_trained
from hashzoo.errors import HashzooError, one_line
from hashzoo.extraction import Extraction
from hashzoo.features import Encoded, encode_modality
from hashzoo.model import Tower, Towers, encode
from hashzoo.online import OnlineTrainer, Rounds, jobs_of_chunks
from hashzoo.recipe import ROLES, Cell, Recipe
from hashzoo.rounds import changed, save_rounds, score_rounds
from hashzoo.settings import plain
from hashzoo.source import environment
from hashzoo.storage import (
    StorageError,
    atomic_write,
    canonical_json,
    digest,
    write_arrays,
    write_error,
    write_json,
)
from hashzoo.track import Track
from hashzoo.train import Job, Rows

# The files whose code decides what a run's codes are; an edit to one of them makes other runs.
CORE_SOURCES = (
    *("model.py", "train.py", "online.py", "losses.py", "arrays.py", "extraction.py", "features.py", "run.py"),
    "codes.py",
    "encoders/*.py",
)
VERSIONS = ("hashzoo", "torch", "timm", "open_clip_torch", "transformers", "numpy", "safetensors")
STATISTICS_ROWS = 20_000


@dataclass
class Workbench:
    """What the cells of one bench share: the data set, its encoded modalities, the device, the threads asked for.

    `batch` is the rows that an encoder takes at once; None is what suits the device.
    """

    dataset: Dataset
    track: Track
    device: torch.device
    threads: int | None
    batch: int | None = None
    _described: dict[str, Described] = field(default_factory=dict)
    _encoded: dict[str, Encoded] = field(default_factory=dict)
    _texts: dict[str, torch.Tensor] = field(default_factory=dict)

    @functools.cached_property
    def training(self) -> Training:
        """The training and val rows as trainers, and encoders that are fitted, see them."""
        return Training.of(self.dataset, self.track.train_data)

    def described(self, recipe: Recipe, role: str) -> Described:
        """The encoder of a role: its card from the cache, or built and fitted once for all cells of equal settings."""
        how = self.extraction(recipe, role)
        key = digest([recipe.encoders[role], role, _section(recipe, role), how.card()])
        if key not in self._described:
            weights, trained = recipe.trained(role)
            if trained:
                check_trained(weights, trained, recipe.encoders[role], _section(recipe, role), self.track.describe())
            preimage = self._preimage(recipe, role)
            found = recalled(preimage, lambda: self._built(recipe, role))
            if found is None:
                found = self._built(recipe, role)
                if found.encoder.files is not None:
                    remember(
                        preimage, found, [*found.encoder.files, *([Path(weights).expanduser()] if trained else [])]
                    )
            self._described[key] = found
        return self._described[key]

    def _built(self, recipe: Recipe, role: str) -> Described:
        """The encoder of a role, built, fitted and described."""
        how = self.extraction(recipe, role)
        _, trained = recipe.trained(role)
        encoder = recipe.encoder(role)
        try:
            if isinstance(encoder, Lookup):
                encoder.open(self.dataset)
            else:
                encoder.fit(self.training.train.items(self.dataset, role))
            card = {"name": recipe.encoders[role], **encoder.card(), **how.card()}
            if trained:
                card |= {"weights": state_digest(encoder), "trained": trained}
            canonical_json(card)
        except HashzooError:
            raise
        except Exception as error:
            raise HashzooError(
                f"encoder '{recipe.encoders[role]}' of {recipe.sections[role].plugin.origin} cannot be fitted and "
                f"described: {one_line(error)}",
                exit_code=1,
            ) from error
        return Described.of(encoder.eval().to(how.device), card)

    def _preimage(self, recipe: Recipe, role: str) -> dict[str, Any]:
        """Everything that can change an encoder's card, but for the content of the files that it is read from."""
        section = recipe.sections[role]
        settings = _section(recipe, role)
        named = [recipe.encoders[role].partition(":")[2].removeprefix("local-dir:"), *map(str, settings.values())]
        preimage = {
            "encoder": recipe.encoders[role],
            "role": role,
            "settings": settings,
            "extraction": self.extraction(recipe, role).card(),
            # What a relative path means depends on where one is.
            "places": [str(Path(name).expanduser().resolve()) for name in named if name and _exists(name)],
            "plugins": [plugin_card(plugin) for plugin in (zoo.load().plugins[0], section.plugin)],
            "environment": environment(),
        }
        if getattr(section.target, "fit", None) is not Encoder.fit:
            rows = np.ascontiguousarray(self.training.train.numbers(role), dtype="<i8")
            preimage["fitted on"] = [self.dataset.fingerprint(), digest(rows.tobytes())]
        return preimage

    def encoded(self, recipe: Recipe, role: str) -> Encoded:
        """All rows of one modality as this recipe's tower takes them."""
        outputs = recipe.method.image_outputs if role == "image" else recipe.method.text_outputs
        frozen = recipe.frozen[role].value
        how = self.extraction(recipe, role)
        key = digest([recipe.encoders[role], role, _section(recipe, role), list(outputs), frozen, how.card()])
        if key not in self._encoded:
            described = self.described(recipe, role)
            self._encoded[key] = encode_modality(self.dataset, described, role, outputs, frozen, how)
        return self._encoded[key]

    def extraction(self, recipe: Recipe, role: str) -> Extraction:
        """How the features of a role are computed and kept."""
        return Extraction(self.device, self.batch, **plain(recipe.extraction[role]))

    def text_inputs(self, recipe: Recipe, strings: list[str]) -> torch.Tensor:
        """Strings as the text tower takes them; encoded once for all cells that ask for the same ones."""
        encoded = self.encoded(recipe, "text")
        key = digest([id(encoded), strings])
        if key not in self._texts:
            self._texts[key] = encoded.tower_inputs(strings)
        return self._texts[key]


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
            role: {"name": recipe.encoders[role], "card": bench.described(recipe, role).card} for role in ROLES
        },
        "settings": recipe.settings(),
        "bits": cell.bits,
        "seed": cell.seed,
        "plugins": plugins,
        "device": device_name(bench.device),
        "threads": recipe.threads(bench.threads),
        "versions": versions(),
    }


def plugin_card(plugin: zoo.Plugin) -> dict[str, str]:
    """Distribution, version and source digest of a plugin, or of the core."""
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "digest": core_digest() if plugin.name == "hashzoo" else plugin.source_digest(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that can change a number."""
    return {name: version for name in VERSIONS if (version := _version(name))}


def key_of(description: dict[str, Any]) -> str:
    """The content key: values of settings count, where they came from does not."""
    values = {name: setting["value"] for name, setting in description["settings"].items()}
    return digest(description | {"settings": values})


def typed_settings(description: dict[str, Any]) -> dict[str, Any]:
    """The settings that the user typed: what a table shows beside the method's name."""
    return {name: s["value"] for name, s in description["settings"].items() if s["origin"] == "user"}


def folder_of(runs: Path, track: Track, cell: Cell, encoders: dict[str, str], key: str) -> Path:
    """Where a run is kept. Names are made readable, the key keeps them apart."""
    pair = "+".join("".join(c if c.isalnum() or c in "._-" else "-" for c in encoders[role]) for role in ROLES)
    return runs / track.id / cell.method / f"{pair}-{cell.bits}-s{cell.seed}-{key[:8]}"


def train_cell(
    bench: Workbench,
    recipe: Recipe,
    cell: Cell,
    folder: Path,
    description: dict[str, Any],
    request: str,
    watch: Callable[[dict[str, Any]], None] = lambda line: None,
    dataset_settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train one cell, keep it in `folder`, and give back its result. A failure is kept and given back too.

    Args:
        request: digest of what was typed; a later bench finds the finished run by it without importing torch.
        watch: sees each line of train.jsonl as it is written.
        dataset_settings: of the data set, by path; kept, and no part of the key: its content is.
    """
    key = key_of(description)
    result = {
        "schema": 1,
        "key": key,
        "request": request,
        "method": cell.method,
        "encoders": dict(recipe.encoders),
        "random_weights": [r for r in ROLES if description["encoders"][r]["card"].get("weights") == "random"],
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
    for leftover in ("result.json", "error.txt", "rounds.npz"):
        try:
            (folder / leftover).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(folder / leftover, error) from error
    about = {"key": key, "request": request, "plugin": result["plugin"], "dataset_settings": dataset_settings or {}}
    write_json(folder / "run.json", description | about)
    try:
        for role in ROLES:
            bench.encoded(recipe, role)  # features are shared by all cells: their seconds belong to none
        codes, seconds, rounds = _fit_and_encode(bench, recipe, cell, folder, watch)
        start = time.perf_counter()
        scores, per_query = bench.track.score(codes)
        if rounds is not None:
            scores |= score_rounds(bench.track, codes, changed(rounds.codes), rounds.about)
        seconds["evaluate"] = time.perf_counter() - start
    except StorageError:
        raise
    except (Exception, SystemExit) as error:
        reason = one_line(error)
        with atomic_write(folder / "error.txt", "w") as file:
            file.write(f"{reason}\n\n{traceback.format_exc()}")
        return result | {"status": "failed", "reason": reason}
    save_codes(folder / "codes.npz", **codes)
    if rounds is not None:
        save_rounds(folder, changed(rounds.codes), rounds.about)
    write_arrays(folder / "per_query.npz", per_query)
    result |= {
        "status": "ok",
        **scores,
        "health": {role: health(codes[f"{role}_database"]) for role in ROLES},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    write_json(folder / "result.json", result)
    return result


def _fit_and_encode(
    bench: Workbench, recipe: Recipe, cell: Cell, folder: Path, watch: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Codes], dict[str, float], Rounds | None]:
    """Fit the towers, keep them, and encode the query and database rows of both modalities; in rounds, on a stream."""
    with _append_lines(folder / "train.jsonl") as append, seeded(cell.seed, recipe.threads(bench.threads)):

        def log(**terms: Any) -> None:
            line = log_line(terms)
            append(line)
            watch(line)

        rounds = None
        if bench.track.stream:
            towers, rounds = fit_rounds(bench, recipe, cell, log)
            codes, seconds = rounds.codes[-1], rounds.seconds
        else:
            start = time.perf_counter()
            towers = fit(recipe, make_job(bench, recipe, cell, log))
            trained = time.perf_counter()
            codes = encode_rows(bench, recipe, cell, towers)
            seconds = {"train": trained - start, "encode": time.perf_counter() - trained}
    with atomic_write(folder / "model.safetensors") as file:
        file.write(state_bytes(towers))
    return codes, seconds, rounds


def log_line(terms: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer logged as a line of train.jsonl: tensors and numpy's numbers become floats."""
    return {name: float(value) if hasattr(value, "item") else value for name, value in terms.items()}


def fit(recipe: Recipe, job: Job) -> Towers:
    """Train one cell on its job; the caller has seeded the generators (`seeded`)."""
    trainer = recipe.sections["trainer"].build()
    towers = trainer.fit(job)
    if not isinstance(towers, Towers):
        name = recipe.method.name
        raise HashzooError(f"the trainer of '{name}' gave back {type(towers).__name__}, not Towers", exit_code=1)
    return towers


def learns_online(recipe: Recipe) -> bool:
    """Whether the trainer of a recipe learns chunk after chunk."""
    return issubclass(recipe.sections["trainer"].target, OnlineTrainer)


def fit_rounds(bench: Workbench, recipe: Recipe, cell: Cell, log: Callable[..., None]) -> tuple[Towers, Rounds]:
    """Train on a database that arrives in chunks; a method that does not learn online, on all of them together."""
    stream = bench.track.stream
    parts = chunks(bench.training, bench.dataset.splits.database, stream["rows"])

    def encoded(role: str, tower: torch.nn.Module, rows: np.ndarray) -> Codes:
        return _codes(cell, role, tower, bench.encoded(recipe, role).inputs, rows)

    rounds = Rounds(bench.dataset.splits.query, parts, encoded, stream["database_codes"])
    if learns_online(recipe):
        jobs = jobs_of_chunks(parts, lambda chunk: make_job(bench, recipe, cell, log, chunk.training))
        return rounds.online(recipe.sections["trainer"].build(), jobs), rounds
    job = make_job(bench, recipe, cell, log)
    return rounds.offline(lambda: fit(recipe, job)), rounds


def encode_rows(bench: Workbench, recipe: Recipe, cell: Cell, towers: Towers) -> dict[str, Codes]:
    """Codes of the query and database rows: "image_query", "image_database", "text_query", "text_database"."""
    splits = {"query": bench.dataset.splits.query, "database": bench.dataset.splits.database}
    return {
        f"{role}_{split}": _codes(cell, role, getattr(towers, role), bench.encoded(recipe, role).inputs, rows)
        for role in ROLES
        for split, rows in splits.items()
    }


def state_bytes(towers: Towers) -> bytes:
    """Parameters and buffers in the safetensors format: what `model.safetensors` holds."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in towers.state_dict().items()}
    return safetensors.torch.save(state)


def make_job(
    bench: Workbench, recipe: Recipe, cell: Cell, log: Callable[..., None], training: Training | None = None
) -> Job:
    """The job of one cell: training and validation rows, fresh towers, text inputs. Nothing of query or database.

    `training` is all that is trained on unless told otherwise: of a stream, what arrives in one chunk.
    """
    encoded = {role: bench.encoded(recipe, role) for role in ROLES}
    seen = training or bench.training
    statistics = {
        role: torch.from_numpy(encoded[role].features_of(seen.train.numbers(role)[:STATISTICS_ROWS])).float()
        for role in ROLES
    }

    def tower(role: str) -> Tower:
        part = encoded[role]
        if f"{role}_head" not in recipe.sections:
            raise HashzooError(f"'{recipe.method.name}' names no {role} head, so there is no job.towers()", exit_code=1)
        head = recipe.sections[f"{role}_head"].build(widths=part.widths, bits=cell.bits)
        made = Tower(head, part.widths, None if part.frozen else part.trainable_encoder())
        made.standardise(statistics[role])
        return made

    def rows(split: SeenRows) -> Rows:
        image, text = (encoded[role].inputs_of(split.numbers(role)) for role in ROLES)
        return Rows(image, text, split.labels, bench.device)

    def text_inputs(strings: Sequence[str]) -> torch.Tensor:
        return bench.text_inputs(recipe, list(strings)).to(bench.device)

    return Job(
        train=rows(seen.train),
        bits=cell.bits,
        classes=bench.dataset.classes,
        widths={role: dict(encoded[role].widths) for role in ROLES},
        loss=recipe.sections["loss"].build().to(bench.device) if "loss" in recipe.sections else None,
        device=bench.device,
        generator=torch.Generator().manual_seed(cell.seed),
        towers=lambda: Towers(tower("image"), tower("text")).to(bench.device),
        text_inputs=None if encoded["text"].described.looks_up else text_inputs,
        log=log,
        val=rows(seen.val) if len(seen.val) else None,
    )


def _codes(cell: Cell, role: str, tower: torch.nn.Module, inputs: np.ndarray, rows: np.ndarray) -> Codes:
    """Codes of some rows, in blocks; what a tower gives is checked here, for every method alike."""
    blocks = []
    for start in range(0, len(rows), 8192):
        values = encode(tower, torch.from_numpy(take(inputs, rows[start : start + 8192])))
        if values.ndim != 2 or values.shape[1] != cell.bits:
            raise HashzooError(
                f"the {role} tower of '{cell.method}' gave {tuple(values.shape)[1:]} values a row, not {cell.bits}",
                exit_code=1,
            )
        if not torch.isfinite(values).all():
            raise HashzooError(f"the {role} tower of '{cell.method}' gave values that are not finite", exit_code=1)
        blocks.append(pack((values > 0).numpy()).data)
    return Codes(np.concatenate(blocks), cell.bits)


@contextlib.contextmanager
def seeded(seed: int, threads: int) -> Iterator[None]:
    """Seed every global generator for the block, with deterministic kernels; put all of it back afterwards."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - plugins may use the old interface
    deterministic, thread_count = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            torch.set_num_threads(threads)
            # What torch.use_deterministic_algorithms does, which loads torch's compiler to tell it too.
            torch.set_deterministic_debug_mode("warn")
            yield
    finally:
        torch.set_deterministic_debug_mode(deterministic)
        torch.set_num_threads(thread_count)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002


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


def core_digest() -> str:
    """SHA-256 over those of hashzoo's own files that decide what codes come out."""
    return zoo.source_digest("hashzoo", *CORE_SOURCES)


def device_name(device: torch.device) -> str:
    """What the device is, in the words of its driver; results of two devices are not byte-identical."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _section(recipe: Recipe, name: str) -> dict[str, Any]:
    return {key: value.value for key, value in recipe.sections[name].settings.items()}


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long, or of no user
        return False


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
