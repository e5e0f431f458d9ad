"""Checks of trainers that learn chunk after chunk, beside those of every method."""

from __future__ import annotations

import torch

from hashzoo.errors import one_line
from hashzoo.online import OLD_CODES
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.stream_trial import BITS, CHUNKS, ROWS, stream_trial


def unteachable(subject: Subject) -> str:
    """Why the checks after the first do not apply."""
    try:
        given = stream_trial(subject).given
    except (Exception, SystemExit) as error:
        return f"it cannot learn chunk after chunk: {one_line(error)}"
    wrong = next((name for name in given if name != "Towers"), "")
    return f"partial_fit gives back {wrong}, not Towers" if wrong else ""


@check("online")
def check_partial_fit_gives_towers(subject: Subject) -> None:
    """After each of several chunks partial_fit gives Towers, whose values are finite and of the shape (rows, bits)."""
    reason = unteachable(subject)
    assert not reason, reason
    for number, chunk in enumerate(stream_trial(subject).values, 1):
        for values in chunk:
            assert values.shape == (ROWS, BITS) and torch.isfinite(values).all(), (  # noqa: PT018 - one demand
                f"after chunk {number} a tower gives values of shape {tuple(values.shape)} for {ROWS} rows and {BITS} "
                f"bits, or such that are not finite"
            )


@check("online", unless=unteachable)
def check_each_chunk_changes_the_towers(subject: Subject) -> None:
    """Every chunk changes the towers: what arrives later is learned from, too."""
    states = stream_trial(subject).states
    same = next((number for number in range(1, CHUNKS) if states[number] == states[number - 1]), 0)
    assert not same, f"chunk {same + 1} leaves the towers as they were; learn from every chunk"


@check("online", unless=unteachable)
def check_old_chunks_are_not_seen_again(subject: Subject) -> None:
    """While it learns from a chunk, no rows of earlier jobs are looked at: they are gone in a stream."""
    looked = [number for number, back in enumerate(stream_trial(subject).looked_back, 1) if back]
    assert not looked, (
        f"in chunk {looked[0]} it looks at rows of an earlier job; keep sums, weights or a few rows that you chose, "
        f"and no job"
    )


@check("online", unless=unteachable)
def check_learned_codes_fit_their_rows(subject: Subject) -> None:
    """Learned codes, where there are such, are finite, one for each row of the chunk (where revised, of all so far)."""
    found = stream_trial(subject)
    assert found.old_codes in OLD_CODES, f"old_codes is '{found.old_codes}'; it is one of {', '.join(OLD_CODES)}"
    for number, learned in enumerate(found.learned, 1):
        if learned is None:
            assert found.old_codes != "revised", "it says that it revises old codes, and learned_codes() gives none"
            continue
        rows = number * ROWS if found.old_codes == "revised" else ROWS
        for values in (learned.image, learned.text):
            assert values.shape == (rows, BITS) and torch.isfinite(values).all(), (  # noqa: PT018 - one demand
                f"after chunk {number} learned_codes() gives shape {tuple(values.shape)}, or values that are not "
                f"finite; it is ({rows}, {BITS}) with old_codes = '{found.old_codes}'"
            )


def unbounded(subject: Subject) -> str:
    """Why a state may grow."""
    return unteachable(subject) or ("" if stream_trial(subject).bounded_state else "it does not claim bounded_state")


@check("online", unless=unbounded)
def check_state_does_not_grow_with_chunks(subject: Subject) -> None:
    """Where bounded_state is claimed, a trainer holds no more bytes after the fourth chunk than after the second."""
    sizes = stream_trial(subject).sizes
    assert sizes[-1] <= sizes[1], (
        f"after chunks 1 to {CHUNKS} the trainer holds {', '.join(f'{size:,}' for size in sizes)} bytes; keep sums, "
        f"or claim no bounded_state"
    )
