"""Cross-validation: every training row is a query once, groups stay together, no query of the usual split is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.data import Dataset, Splits
from hashzoo.data.folds import InFold, fold_of
from hashzoo.errors import HashzooError
from hashzoo.report import collect, frame, join_folds, make_table
from hashzoo.report.formats import markdown
from hashzoo.report.significance import compare, per_query

OPTIONS = ("--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", "--threads", "1", "--jobs", "1")
SETTINGS = tuple(word for setting in SMALL for word in ("--set", setting))


class Lines(Dataset):
    """60 rows, of which the first ten are queries and the last ten of no use; five rows of the others are val."""

    name = "lines"
    classes = ("a", "b")

    def __init__(self, groups=None, pictures=None):
        self.labels = np.arange(120).reshape(60, 2) % 3 > 0
        train = np.arange(15, 50)
        self.splits = Splits(train, np.arange(10), np.arange(10, 60), "the first ten", np.arange(10, 15))
        self.groups, self.pictures = groups, pictures

    def image(self, row):
        raise NotImplementedError

    def text(self, row):
        return f"line {row}"

    def fingerprint(self):
        return "lines"

    def picture_digests(self):
        return self.pictures


def folds(data, of, seed=0):
    return [InFold(data, number, of, seed) for number in range(1, of + 1)]


@pytest.mark.parametrize("of", [2, 3, 7, 40])
def test_each_row_to_train_on_is_a_query_once_and_no_other_row_is_used(of):
    data = Lines()
    cut = folds(data, of)
    queries = np.concatenate([fold.splits.query for fold in cut])
    assert sorted(queries) == list(range(10, 50))
    assert max(len(fold.splits.query) for fold in cut) - min(len(fold.splits.query) for fold in cut) <= 1
    for fold in cut:
        fold.check()
        splits = fold.splits
        others = np.setdiff1d(np.arange(10, 50), splits.query)
        assert splits.database.tolist() == others.tolist()
        assert splits.train.tolist() == np.setdiff1d(others, np.arange(10, 15)).tolist()
        assert splits.val.tolist() == np.intersect1d(others, np.arange(10, 15)).tolist()
    assert len({fold.splits.digest() for fold in cut}) == of
    assert {(fold.fold.of, fold.fold.partition) for fold in cut} == {(of, cut[0].fold.partition)}
    assert [fold.fold.number for fold in cut] == list(range(1, of + 1))


def test_the_seed_decides_and_the_rule_says_it():
    one, other = fold_of(Lines(), 1, 4), fold_of(Lines(), 1, 4, seed=1)
    assert one[1].partition != other[1].partition
    # What a seed means may never change: published results name it.
    assert one[0].query.tolist() == [11, 12, 17, 21, 22, 32, 34, 35, 44, 48]
    assert other[0].rule == (
        "fold 1 of 4 (seed 1): 10 of the 40 rows of train and val are queries, the others train and val and database; "
        "no other row, so no query of the usual split, is used"
    )


@pytest.mark.parametrize("how", ["groups", "pictures", "both"])
def test_rows_of_one_group_or_picture_are_in_one_fold(how):
    number = np.arange(60) // 4
    groups = number if how != "pictures" else None
    pictures = np.repeat(number[:, None].astype(np.uint8), 32, axis=1) if how != "groups" else None
    if how == "both":
        # Pairs of groups share a picture.
        pictures = np.repeat((np.arange(60) + 4)[:, None].astype(np.uint8), 32, axis=1)
        pictures[np.arange(60) % 8 == 4] = pictures[np.arange(60) % 8 == 0][: len(pictures[4::8])]
        number = np.arange(60) // 8
    cut = folds(Lines(groups, pictures), 3)
    for fold in cut:
        assert not set(number[fold.splits.query]) & set(number[fold.splits.database])
    assert f"groups together ({len(set(number[10:50]))} groups)" in cut[0].splits.rule


def test_folds_that_cannot_be_cut():
    with pytest.raises(HashzooError, match="folds are a whole number from 2 to 40 for 'lines'"):
        fold_of(Lines(), 1, 41)
    data = Lines()
    data.repeats = ("2 of 10 query rows have a picture that is also in 'train'",)
    with pytest.raises(HashzooError, match="does not say which belong together"):
        fold_of(data, 1, 2)
    for count in (1, 101, 2.5):
        with pytest.raises(HashzooError, match="folds are a whole number from 2 to 100, not"):
            bench(["random"], [8], dataset="scenes", folds=count)


@pytest.mark.parametrize(
    ("groups", "said"), [(np.zeros(59, int), r"of shape \(59,\)"), (np.zeros(60), "not float64 of shape")]
)
def test_groups_are_one_whole_number_a_row(groups, said):
    with pytest.raises(HashzooError, match=said):
        Lines(groups).check()


def test_the_folds_of_a_bench_are_one_table(tiny, command):
    shown = command("bench", *OPTIONS, *SETTINGS, "--method", "toy", "--folds", "3", "--seeds", "0,1")
    assert shown.code == 0, shown
    assert "mAP on scenes, 3-fold cross-validation, tiny+bow" in shown.out
    assert "80 rows in 3 folds" in shown.out
    assert "mean±deviation of 3 folds, each the mean of 2 seeds" in " ".join(shown.out.split())
    assert "12/12 random tiny+bow 8 bits seed 1 (scenes fold 3): i2t" in shown.err

    tracks = collect_runs()
    assert [item["track"]["fold"]["number"] for item in tracks] == [1, 2, 3]
    assert len({item["track"]["splits"] for item in tracks}) == 3
    assert sorted(frame(tracks)["fold"]) == [1] * 4 + [2] * 4 + [3] * 4
    (joined,) = join_folds(tracks)
    values = [np.mean([r["scores"]["i2t"]["map"] for r in item["results"] if r["method"] == "toy"]) for item in tracks]
    row = make_table(joined).rows[0]
    mean, deviation = (f"{number:.3f}".removeprefix("0") for number in (np.mean(values), np.std(values, ddof=1)))
    assert row.cells[("i2t", 8)] == f"{mean}±{deviation}"
    assert f"| {mean}±{deviation} |" in markdown(make_table(joined)).replace("**", "")
    assert len(per_query(joined["results"])[("i2t", 8)]["toy"]) == 80
    (compared,) = compare([joined], "toy", "random")
    assert {r["direction"] for r in compared["rows"]} == {"i2t", "t2i", "mean"}
    assert "3-fold cross-validation" in command("report", "--compare", "toy", "random").out
    assert "3-fold cross-validation" in command("report", "--md").out

    for result in tracks[1]["results"]:
        if result["method"] == "toy":
            result["status"], result["reason"] = "failed", "it was too late"
    partial = make_table(join_folds(tracks)[0])
    assert "toy has 2 of 3 folds at 8 bits" in partial.notes
    assert "toy (tiny+bow, 8 bits, seed 0, fold 2) failed: it was too late" in partial.notes
    assert "toy" not in per_query(join_folds(tracks)[0]["results"])[("i2t", 8)]


def test_other_partitions_and_other_training_are_other_tables(tiny):
    for options in ({}, {"fold_seed": 1}, {"sweep": {"train_data.label_noise": [0, 0.5]}}):
        bench(["random"], [8], dataset="scenes", encoders="tiny+bow", settings=SMALL, folds=2, threads=1, **options)
    assert len(join_folds(collect_runs())) == 3


def collect_runs():
    return sorted(collect(Path("runs")), key=lambda item: item["track"]["fold"]["number"])
