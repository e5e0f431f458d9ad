"""Checks of methods, and of trainers that no method of their plugin uses: that training keeps its contract."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from hashzoo.errors import one_line
from hashzoo.model import encode
from hashzoo.recipe import ROLES
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.scenes import scenes, workbench
from hashzoo.testing.trial import encoded_again, recipe_of, reloaded, trial

# Sums of float32 in another order differ in their last digits, and a head may enlarge that: 1 % of the largest value.
ROUNDING = 0.01


def untrainable(subject: Subject) -> str:
    """Why the checks after the first training do not apply."""
    try:
        trial(subject)
    except (Exception, SystemExit) as error:
        return f"it cannot be trained: {one_line(error)}"
    return ""


def learns_nothing(subject: Subject) -> str:
    """Why checks that presuppose learning do not apply."""
    return untrainable(subject) or ("" if trial(subject).learned else "fit reads no training row: it learns nothing")


def unsteady(subject: Subject) -> str:
    """Why nothing can be told from two trainings that should be equal."""
    if reason := untrainable(subject):
        return reason
    same = trial(subject).state == trial(subject, again=1).state
    return "" if same else "two trainings that are alike in everything give different towers"


def noisy(subject: Subject) -> str:
    """Why nothing can be told from encoding twice."""
    if reason := untrainable(subject):
        return reason
    first, second = trial(subject).codes, encoded_again(subject)
    same = all(np.array_equal(first[name].data, second[name].data) for name in first)
    return "" if same else "its towers give other codes when they encode again"


def copies(subject: Subject) -> str:
    """Why nothing can be told of the text codes by themselves."""
    codes = trial(subject).codes
    same = np.array_equal(codes["image_query"].data, codes["text_query"].data)
    return "the query texts get exactly the codes of their images" if same else ""


@check("method")
def check_it_trains_and_encodes(subject: Subject) -> None:
    """A training runs through, and its towers give finite values of the shape (rows, bits)."""
    reason = untrainable(subject)
    assert not reason, reason


@check("method", unless=untrainable)
def check_same_seed_gives_same_codes(subject: Subject) -> None:
    """Two trainings with one seed give the same codes, bit for bit."""
    first, second = trial(subject), trial(subject, again=1)
    different = [name for name in first.codes if first.codes[name].data.tobytes() != second.codes[name].data.tobytes()]
    assert not different, (
        f"two trainings with one seed give different {' and '.join(different)} codes; draw all randomness from "
        f"job.generator or the global generators, which the core seeds"
    )


@check("method", unless=untrainable)
def check_other_seed_gives_other_codes(subject: Subject) -> None:
    """A training with another seed gives other codes: a spread over seeds would be 0 for no good reason."""
    first, second = trial(subject), trial(subject, seed=1)
    assert any(first.codes[name].data.tobytes() != second.codes[name].data.tobytes() for name in first.codes), (
        "seeds 0 and 1 give the same codes; take randomness from job.generator or the global generators, and seed none"
    )


@check("method", unless=untrainable)
def check_bits_are_honoured(subject: Subject) -> None:
    """At 16, 24 and 128 bits codes have that many, and do not end in a run of bits that are the same in every row."""
    for bits in (16, 24, 128):
        codes = trial(subject, bits=bits).codes
        for role in ROLES:
            rows = codes[f"{role}_database"].unpack()
            varying = np.flatnonzero(rows.any(axis=0) & ~rows.all(axis=0))
            tail = bits - 1 - int(varying[-1]) if len(varying) else bits
            # A bit or two may be lost in learning; padding to a round length costs at least an eighth of all bits.
            assert tail <= bits // 8 or not len(varying), (
                f"asked for {bits} bits, the {role} tower gives {bits - tail} and {tail} that never change; "
                f"make heads of job.bits outputs"
            )


@check("method", unless=untrainable)
def check_fit_leaves_its_rows_alone(subject: Subject) -> None:
    """Inputs and labels of training and validation rows are after fit what they were before."""
    altered = trial(subject).altered
    assert not altered, f"fit changes {' and '.join(altered)} in place; work on a copy"


@check("method", unless=learns_nothing)
def check_log_counts_the_epochs(subject: Subject) -> None:
    """Each stage logs its epochs as 1, 2, 3 ... or goes on counting, each with finite terms by name."""
    lines = trial(subject).lines
    assert any("epoch" in line for line in lines), "it logs no epoch; call job.log(epoch=1, loss=...) after each"
    stages: list[str] = []
    last, begun = 0, False  # the number of the last epoch, and whether the present stage has one
    for line in lines:
        _check_terms(line)
        stage = line.get("stage", "")
        assert isinstance(stage, str), f"'stage' is {stage!r}; name it with a word"
        if not stages or stage != stages[-1]:
            assert stage not in stages, f"stage '{stage}' is logged again after '{stages[-1]}'"
            stages.append(stage)
            begun = False
        if "epoch" in line:
            epoch, wanted = line["epoch"], (last + 1,) if begun else (last + 1, 1)
            assert epoch in wanted, (
                f"epoch {epoch!r} is logged after epoch {last}; count epochs from 1 and log one line for each"
            )
            last, begun = epoch, True


def _check_terms(line: dict[str, Any]) -> None:
    terms = {name: value for name, value in line.items() if name not in ("epoch", "stage")}
    assert terms, f"the line {line} holds no term; log the mean of each"
    for name, value in terms.items():
        assert isinstance(value, int | float), f"'{name}' is logged as {value!r}; log a number"
        assert math.isfinite(value), f"'{name}' is logged as {value}; a term that is not finite has diverged"


@check("method", unless=noisy)
def check_saved_towers_give_the_same_codes(subject: Subject) -> None:
    """What a run keeps, the state dict, loads into Trainer.towers(job), which give the same codes and bytes."""
    saved = trial(subject)
    try:
        state, codes = reloaded(subject)
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"the trainer's towers(job) cannot load the state of what fit gives back "
            f"({shorten(one_line(error), 250)}); override towers(job) to make modules of the same kind, without rows"
        ) from error
    different = [name for name in codes if codes[name].data.tobytes() != saved.codes[name].data.tobytes()]
    assert not different, (
        f"towers that load the saved state give different {' and '.join(different)} codes; keep all that encoding "
        f"needs in parameters and persistent buffers"
    )
    assert state == saved.state, "towers that load the saved state save other bytes; keep its types and shapes"


@check("method", unless=lambda subject: untrainable(subject) or copies(subject))
def check_a_row_is_encoded_by_itself(subject: Subject) -> None:
    """In evaluation mode a row's values depend on that row alone: not on its batch, and not on chance."""
    towers, bench, recipe = trial(subject).towers, workbench(), recipe_of(subject)
    for role in ROLES:
        inputs = torch.from_numpy(bench.encoded(recipe, role).inputs[bench.dataset.splits.query])
        tower = getattr(towers, role)
        together = encode(tower, inputs)
        assert torch.equal(together, encode(tower, inputs)), (
            f"the {role} tower gives other values when the same rows are encoded again; leave out dropout and noise "
            f"where self.training is False"
        )
        apart = (together - encode(tower, inputs, batch=1)).abs().max().item()
        largest = together.abs().max().item()
        assert apart <= ROUNDING * largest, (
            f"the {role} tower's values of a row change by {apart:.2g} (the largest is {largest:.2g}) with the other "
            f"rows of its batch; use no statistics of the batch where self.training is False"
        )


@check("method", unless=untrainable)
def check_fit_leaves_the_process_as_it_was(subject: Subject) -> None:
    """After fit the process is as before: types, modes, environment, folders, signals, streams, random states."""
    disturbed = trial(subject).disturbed
    assert not disturbed, f"fit changes {' and '.join(disturbed)} for all that runs after it; put it back"


@check("method", unless=untrainable)
def check_it_trains_without_validation_rows(subject: Subject) -> None:
    """A data set need not have validation rows: fit works where job.val is None."""
    try:
        trial(subject, val="withheld")
    except (Exception, SystemExit) as error:
        raise AssertionError(f"without validation rows (job.val is None) it fails: {one_line(error)}") from error


@check("method", tier="behaviour", unless=untrainable)
def check_validation_rows_are_not_descended_on(subject: Subject) -> None:
    """No gradient is taken through the features of validation rows: they are there to choose by."""
    assert not trial(subject, val="watched").descended_on_val, (
        "fit takes gradients through job.val; train on job.train alone, and look at job.val under torch.no_grad()"
    )


@check("method", unless=untrainable)
def check_fit_takes_nothing_from_the_data_set(subject: Subject) -> None:
    """While fit runs, no data set is built, and no image or text is read but those of training and validation rows."""
    taken = trial(subject).taken
    assert not taken, (
        f"fit {taken[0]}{f', and more ({len(taken)} times in all)' if taken[1:] else ''}; all that it may use of the "
        f"data is job.train and job.val"
    )


@check("method", tier="behaviour", unless=unsteady)
def check_fit_is_unmoved_by_other_rows(subject: Subject) -> None:
    """Other inputs and labels of query and database rows change no byte of the towers, and no line but its seconds."""
    usual, recast = trial(subject), trial(subject, recast=True)
    assert usual.state == recast.state, (
        f"the towers change when the rows outside job.train and job.val do ({len(_hidden())} of {len(scenes())} here); "
        f"reach for nothing behind the functions of the job"
    )
    first, second = ([line | {"seconds": 0} for line in found.lines] for found in (usual, recast))
    assert first == second, "what is logged changes with rows outside job.train and job.val"


def _hidden() -> np.ndarray:
    splits = scenes().splits
    return np.setdiff1d(np.arange(len(scenes())), np.concatenate([splits.train, splits.val]))
