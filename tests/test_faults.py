"""Commands are ended by signals, refused by disks, given files that are cut off, and run at once on one folder.

Nothing that was finished is lost or half written, nothing is trained twice at the same time, no number comes from a
file that is not whole, and what is taken up again ends as if nothing had been. The campaign: benchmarks/faults.py.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import faults
import pytest
from faults import SCENARIOS, Fault, Nursery, Truncations

pytestmark = pytest.mark.slow
SEED = 0
# Changes of a file at which a bench is ended: the first, in the middle of the first run, before a result, the last.
PLACES = (0.0, 0.3, 0.7, 1.0)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with faults.nursery(tmp_path_factory.mktemp("nursery") / "site") as made:
        yield made


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_command_that_is_ended_or_refused_leaves_what_is_finished(name, nursery, tmp_path):
    scenario = SCENARIOS[name](nursery, tmp_path)
    assert scenario.changes > 0
    rng = random.Random(SEED)
    signals = [
        Fault(sign, event=max(1, round(place * scenario.changes)))
        for sign, place in zip(("KILL", "INT", "TERM", "KILL"), PLACES, strict=True)
    ]
    outcomes = [scenario.trial(fault) for fault in (*signals[: 4 if name == "bench" else 2], scenario.refusals(rng))]
    # Of two commands that share their work the one that is ended may have less to do than until the second fault.
    assert "unharmed" not in outcomes[: 1 if name in ("together", "shared") else 2], outcomes


def test_files_that_are_cut_off_give_no_number(nursery, tmp_path):
    trial = Truncations(nursery, tmp_path)
    rng = random.Random(SEED)
    named = {path.name: path for path in trial.candidates()}  # one of each name
    chosen = [named[name] for name in ("codes.npz", "result.json", "run.json", "codes.npy")]
    for file in chosen:
        trial.cut(file, rng.randrange((trial.after / file).stat().st_size))


def test_two_benches_on_one_folder_train_each_run_once(nursery, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    assert nursery.run(alone, *faults.BENCH).code == 0
    shutil.copytree(alone / "cache", together / "cache")
    numbers = [nursery.start(together, *faults.BENCH, called=name) for name in ("a", "b")]
    ended = [nursery.wait(number) for number in numbers]
    assert [one.code for one in ended] == [0, 0], ended
    assert faults.results(together / "runs") == faults.results(alone / "runs")
    trained = faults.trainings(together)
    assert sorted({name for name, _, _ in trained}) == sorted(faults.results(alone / "runs"))
    assert len(trained) == len({name for name, _, _ in trained}), trained
