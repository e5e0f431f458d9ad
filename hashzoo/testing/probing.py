"""What checks of several kinds need: how another check went, global generators, other values of settings."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from hashzoo.fitting import seeded
from hashzoo.settings import keywords
from hashzoo.testing.kit import Subject, sentence

UNUSUAL_SEED = 3_141_592_653


@functools.lru_cache(maxsize=64)
def failure(check: Callable[[Subject], None], subject: Subject) -> str:
    """Why a check fails, "" where it passes: what builds on it does not apply."""
    try:
        check(subject)
    except (Exception, SystemExit) as error:
        return sentence(error)
    return ""


def generator_states() -> dict[str, Any]:
    """The state of every global random number generator, by name, as values that can be compared."""
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002 - plugins may use the old interface
    return {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": (kind, np.asarray(numbers).tobytes(), *rest),
        "torch's random numbers": torch.get_rng_state().numpy().tobytes(),
    }


@contextlib.contextmanager
def watched_generators() -> Iterator[list[str]]:
    """After the block the list names the global generators that it changed; all are as before the block."""
    changed: list[str] = []
    with seeded(UNUSUAL_SEED, torch.get_num_threads()):  # were it a usual one, seeding again would change nothing
        before = generator_states()
        yield changed
        changed += [name for name, state in generator_states().items() if state != before[name]]


def other_settings(target: Any, given: Iterable[str] = ()) -> Iterator[tuple[str, list[Any]]]:
    """Every setting of a constructor that can be changed blindly, with values to try, near ones first.

    Flags are turned over and numbers changed; a word can only be guessed at, so words stay as they are.
    """
    for name, parameter in keywords(target, given).items():
        value = parameter.default
        if isinstance(value, bool):
            yield name, [not value]
        elif isinstance(value, int):
            yield name, [value + 1, value * 2, value - 1]
        elif isinstance(value, float):
            yield name, [value + 0.1, value * 2, value - 0.1]
