"""Checks of what a method has learned: its codes hold something, and more than chance would."""

from __future__ import annotations

import functools

import numpy as np

from hashzoo import recipe
from hashzoo.benches.track import DIRECTIONS
from hashzoo.codes import Codes, health, pack
from hashzoo.evaluator import randomisation_test
from hashzoo.recipe import ROLES
from hashzoo.testing.checks.of_methods import copies, learns_nothing, unsteady, untrainable
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.scenes import scenes, workbench
from hashzoo.testing.trial import trial

SIGNIFICANT = 0.01
# Last digits of sums add up over a training, and bits whose values are near 0 change; of our methods by 0.005 at most.
METRIC_ROUNDING = 0.02


@functools.lru_cache(maxsize=16)
def precision(subject: Subject, threads: int = 1) -> dict[str, np.ndarray]:
    """Average precision of each query, (Q,), by direction."""
    return workbench().track.score(trial(subject, threads=threads).codes)[1]


@functools.cache
def random_precision(bits: int = 16) -> dict[str, np.ndarray]:
    """The same of codes that are drawn."""
    rng = np.random.default_rng(0)
    rows = {"query": len(scenes().splits.query), "database": len(scenes().splits.database)}
    codes = {f"{role}_{split}": pack(rng.random((n, bits)) < 0.5) for role in ROLES for split, n in rows.items()}
    return workbench().track.score(codes)[1]


def collapse(subject: Subject) -> str:
    """How the codes of the database have collapsed, "" where they have not."""
    for role in ROLES:
        codes: Codes = trial(subject).codes[f"{role}_database"]
        found = health(codes)
        constant, distinct = int(found["constant_bits"]), round(found["unique_share"] * len(codes))
        if constant > codes.bits // 2:
            return f"{constant} of {codes.bits} bits are the same in all {len(codes)} {role}s of the database"
        if distinct < len(scenes().classes):
            return f"{len(codes)} {role}s of the database get only {distinct} different codes"
    return ""


def indistinct(subject: Subject) -> str:
    """Why the score says nothing, or needs no second sentence."""
    return learns_nothing(subject) or copies(subject) or collapse(subject)


@check("method", tier="behaviour", unless=lambda subject: untrainable(subject) or copies(subject))
def check_codes_do_not_collapse(subject: Subject) -> None:
    """At least half of the bits vary in each modality, and there are at least as many different codes as classes."""
    # Small models lose a bit or two on easy pictures; fewer codes than classes cannot tell the classes apart.
    reason = collapse(subject)
    assert not reason, f"{reason}; weigh similar and dissimilar pairs alike, balance the bits, or lower the rate"


@check("method", tier="behaviour", unless=untrainable)
def check_texts_do_not_get_the_codes_of_their_images(subject: Subject) -> None:
    """Image and text codes of the queries are not the same throughout: each tower sees its own modality alone."""
    reason = copies(subject)
    assert not reason, (
        f"{reason}: one tower repeats the other, or both give one code for all; keep nothing between calls"
    )


@check("method", tier="behaviour", unless=indistinct)
def check_it_beats_random_codes(subject: Subject) -> None:
    """In both directions the mean average precision is above that of random codes (randomisation test, 1 % level)."""
    for direction, (query, database) in DIRECTIONS.items():
        found, drawn = precision(subject)[direction], random_precision()[direction]
        p = randomisation_test(found, drawn)
        assert found.mean() > drawn.mean() and p < SIGNIFICANT, (  # noqa: PT018 - one demand
            f"{query} to {database} it scores {found.mean():.3f}, random codes {drawn.mean():.3f} (p = {p:.4f}, "
            f"{len(found)} queries); its defaults do not learn drawn scenes of {len(scenes().splits.train)} rows"
        )


def one_processor(subject: Subject) -> str:
    """Why threads cannot be compared."""
    return unsteady(subject) or ("" if recipe.available_threads() > 1 else "there is one processor")


@check("method", tier="behaviour", unless=one_processor)
def check_threads_do_not_change_the_metric(subject: Subject) -> None:
    """One thread and two give the same mean average precision, up to the rounding of sums in another order."""
    for direction in DIRECTIONS:
        one, two = (float(precision(subject, threads)[direction].mean()) for threads in (1, 2))
        assert abs(one - two) <= METRIC_ROUNDING, (
            f"{direction} scores {one:.3f} with one thread and {two:.3f} with two; let nothing but sums depend on them"
        )
