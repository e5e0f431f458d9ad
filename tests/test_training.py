"""Harder data on purpose: what the trainer sees changes, what is scored does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL

from hashzoo import zoo
from hashzoo.benches.benchmark import bench
from hashzoo.benches.track import Track, title_of
from hashzoo.benches.workbench import Workbench
from hashzoo.data import Dataset, Splits
from hashzoo.data.training import NO_TEXT, TrainData, Training, in_words
from hashzoo.encoders.bow import WORD
from hashzoo.errors import HashzooError
from hashzoo.fitting import make_job
from hashzoo.opening import open_dataset, train_data
from hashzoo.recipe import Cell, build
from hashzoo.report import collect, frame, make_table
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import read_json


class Rows(Dataset):
    """240 rows of 6 labels; row 8 has none, row 9 has all. 20 queries, 20 val rows, 200 training rows."""

    name = "rows"
    classes = tuple("abcdef")

    def __init__(self):
        draw = np.random.default_rng(0)
        self.labels = np.eye(6, dtype=bool)[draw.integers(0, 6, 240)] | (draw.random((240, 6)) < 0.2)
        self.labels[8], self.labels[9] = False, True
        order = np.arange(240)[::-1].copy()
        val, train = order[:20], order[20:220]
        self.splits = Splits(train=train, query=order[220:], database=order[:220], rule="in order", val=val)

    def image(self, row):
        raise NotImplementedError

    def text(self, row):
        return f"word{row}"

    def fingerprint(self):
        return "rows"


@pytest.fixture(scope="module")
def data() -> Rows:
    return Rows()


def see(data, **wanted) -> Training:
    return Training.of(data, TrainData(**wanted))


def noisy_rows(data, **wanted) -> set[int]:
    seen = see(data, **wanted).train
    return set(seen.images[(seen.labels != data.labels[seen.images]).any(axis=1)].tolist())


def test_without_options_a_trainer_sees_the_data_as_they_are(data):
    seen = Training.of(data)
    for split in ("train", "val"):
        rows = getattr(data.splits, split)
        np.testing.assert_array_equal(getattr(seen, split).images, rows)
        np.testing.assert_array_equal(getattr(seen, split).texts, rows)
        np.testing.assert_array_equal(getattr(seen, split).labels, data.labels[rows])
    assert seen.changed == {}


def test_label_noise_exchanges_one_label_of_exactly_its_share_of_the_rows(data):
    before = data.labels.copy()
    seen = see(data, label_noise=0.25)
    for rows, count in ((seen.train, 50), (seen.val, 5)):
        clean = data.labels[rows.images]
        changed = (rows.labels != clean).any(axis=1)
        assert changed.sum() == count
        np.testing.assert_array_equal(rows.labels.sum(axis=1), clean.sum(axis=1))
        assert set((rows.labels & ~clean).sum(axis=1)[changed]) == {1}
    assert seen.changed == {"label_noise": 55}
    np.testing.assert_array_equal(seen.train.texts, data.splits.train)
    np.testing.assert_array_equal(data.labels, before)


def test_noise_takes_the_only_label_where_all_are_there_and_gives_one_where_none_is(data):
    data = Rows()
    data.splits = Splits(data.splits.train, data.splits.query[2:], data.splits.database, "r", np.array([8, 9]))
    noisy = see(data, label_noise=1.0)
    assert noisy.val.labels.sum(axis=1).tolist() == [1, 5]
    assert noisy.changed == {"label_noise": 202}


def test_noise_reaches_every_other_label_alike(data):
    data = Rows()
    data.labels = np.eye(6, dtype=bool)[np.zeros(240, dtype=int)]
    given = see(data, label_noise=1.0).train.labels.sum(axis=0)
    assert given[0] == 0
    assert given[1:].min() > 20  # 40 expected of each; less than 20 once in several thousand seeds


def test_a_larger_share_contains_the_smaller_one_and_no_option_moves_another(data):
    assert noisy_rows(data, label_noise=0.1) < noisy_rows(data, label_noise=0.2)
    seen = see(data, label_noise=0.2)
    small, large = see(data, size=20).train, see(data, size=0.2).train
    assert (len(small), len(large)) == (20, 40)
    assert set(small.images) < set(large.images) < set(data.splits.train)
    assert [row for row in data.splits.train if row in set(large.images)] == large.images.tolist()
    both = see(data, size=0.2, label_noise=0.2, missing_texts=0.3).train
    np.testing.assert_array_equal(both.images, large.images)
    places = np.searchsorted(-seen.train.images, -large.images)  # the training rows stand in falling order
    np.testing.assert_array_equal(both.labels, seen.train.labels[places])
    missing = see(data, missing_texts=0.3).train.texts
    np.testing.assert_array_equal(both.texts, missing[places])
    assert not np.array_equal(noisy_rows(data, label_noise=0.5), set(seen.train.images[missing == NO_TEXT]))


def test_kept_labels_are_exactly_a_share_of_the_positive_ones(data):
    half, most = see(data, kept_labels=0.5).train, see(data, kept_labels=0.8).train
    clean = data.labels[half.images]
    assert half.labels.sum() == int(clean.sum() * 0.5 + 0.5)
    assert not (half.labels & ~most.labels).any()
    assert not (most.labels & ~clean).any()
    val = data.labels[data.splits.val].sum()
    dropped = clean.sum() - half.labels.sum() + val - int(val * 0.5 + 0.5)
    assert see(data, kept_labels=0.5).changed == {"kept_labels": dropped}


def test_texts_go_missing_and_change_places(data):
    missing = see(data, missing_texts=0.1)
    assert (missing.train.texts == NO_TEXT).sum() == 20
    shown = list(missing.train.items(data, "text"))
    assert shown.count("") == 20
    assert shown[-1] in ("", f"word{missing.train.images[-1]}")

    few, many = see(data, exchanged_texts=0.1).train, see(data, exchanged_texts=0.3).train
    moved = few.texts != few.images
    assert moved.sum() == 20
    assert sorted(few.texts) == sorted(few.images)
    assert set(few.images[moved]) < set(many.images[many.texts != many.images])
    within = see(data, exchanged_texts=1.0, size=30)
    assert set(within.train.texts) == set(within.train.images)
    assert set(within.val.texts) == set(data.splits.val)
    assert within.changed == {"exchanged_texts": 50, "size": 170}


def test_the_seed_decides(data):
    assert noisy_rows(data, label_noise=0.3) == noisy_rows(data, label_noise=0.3)
    assert noisy_rows(data, label_noise=0.3) != noisy_rows(data, label_noise=0.3, seed=1)
    # What a seed means may never change: published results name it.
    assert see(data, size=5).train.images.tolist() == [197, 121, 109, 56, 44]
    assert sorted(noisy_rows(data, label_noise=0.02)) == [23, 69, 127, 208]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("label_noise=1.5", "train_data.label_noise is a share from 0 to 1, not 1.5"),
        ("missing_texts=-1", "train_data.missing_texts is a share from 0 to 1, not -1"),
        ("kept_labels=0", "train_data.kept_labels is a share over 0, up to 1, not 0"),
        ("size=2.5", "train_data.size is a share over 0, up to 1, or a whole number of rows, not 2.5"),
        ("size=0", "train_data.size is a share over 0"),
        ("seed=1", "say also how, such as train_data.label_noise=0.2"),
        ("seed=-1", "train_data.seed is a whole number from 0 to 4294967295, not -1"),
        ("label_noise=many", "train_data.label_noise must be a number, not 'many'"),
        ("label_nois=0.1", "TrainData has no setting 'train_data.label_nois'; did you mean train_data.label_noise?"),
        ("size=300", "train_data.size=300 is more than 'rows' has: 200 training rows"),
        ("size=0.004", "train_data.size=0.004 leaves 1 of 200 training rows; ask for 2 at least"),
        ("size=200", "train_data.size=200 changes nothing of the 200 training rows of 'rows'; leave it out"),
        ("exchanged_texts=0.005", "train_data.exchanged_texts=0.005 changes nothing of the 200 training rows"),
        ("kept_labels=0.9999", "train_data.kept_labels=0.9999 changes nothing"),
    ],
)
def test_what_cannot_be_asked_for(setting, said, data):
    with pytest.raises(HashzooError) as refused:
        Training.of(data, train_data(parse_assignments([f"train_data.{setting}"], [])))
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


def test_the_section_is_one_for_all_methods():
    with pytest.raises(HashzooError, match="'train_dat' in 'train_dat.size=9' is no section; did you mean train_data?"):
        parse_assignments(["train_dat.size=9"], [])
    with pytest.raises(HashzooError, match="'train_data' in 'soda.train_data.size=9' is no section"):
        parse_assignments(["soda.train_data.size=9"], ["soda"])


def test_harder_data_are_a_track_of_their_own(data, tmp_path):
    plain, harder = Track.of(data), Track.of(data, TrainData(label_noise=0.2, size=100))
    assert len({plain.id, harder.id, Track.of(data, TrainData(label_noise=0.2, size=100, seed=1)).id}) == 3
    assert "training" not in plain.describe()
    assert harder.describe()["training"]["settings"] == {"label_noise": 0.2, "size": 100, "seed": 0}
    assert harder.describe()["counts"]["train"] == 100
    np.testing.assert_array_equal(harder.database_labels, plain.database_labels)
    harder.save(tmp_path)
    assert Track.load(tmp_path).describe() == harder.describe()
    assert Track.load(tmp_path).train_data == TrainData(label_noise=0.2, size=100)
    assert title_of(harder.describe()) == "rows, label noise .2, train size 100"
    assert title_of(plain.describe()) == "rows"
    assert (
        in_words({"kept_labels": 0.05, "missing_texts": 1.0, "seed": 7}) == "kept labels .05, missing texts 1, seed 7"
    )


def workbench(*settings: str) -> Workbench:
    assignments = parse_assignments((*SMALL, "dataset.val=0.25", *settings), [])
    dataset = open_dataset("scenes", assignments)
    return Workbench(dataset, Track.of(dataset, train_data(assignments)), torch.device("cpu"), threads=1)


def job_of(workbench: Workbench, *settings: str):
    pair = {"image": "tiny", "text": "bow"}
    recipe = build(zoo.load(), "toy", pair, parse_assignments(("text.size=400", "text.min_count=1", *settings), []))
    return recipe, make_job(workbench, recipe, Cell("toy", "tiny+bow", 8, 0), lambda **terms: None)


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_a_job_holds_what_may_be_seen_and_the_database_stays_clean(frozen, tiny):
    harder = workbench(
        *("train_data.label_noise=0.2", "train_data.exchanged_texts=0.3"),
        *("train_data.missing_texts=0.2", "train_data.size=30"),
    )
    recipe, job = job_of(harder, f"text.frozen={frozen}")
    seen, data = harder.training, harder.dataset
    for rows, held in ((seen.train, job.train), (seen.val, job.val)):
        np.testing.assert_array_equal(held.labels.numpy(), rows.labels)
        everything = torch.arange(len(rows))
        words = held.text(everything).numpy()
        blank = rows.texts == NO_TEXT
        assert not words[blank].any()
        np.testing.assert_array_equal(words[~blank], harder.encoded(recipe, "text").inputs[rows.texts[~blank]])
        images = harder.encoded(recipe, "image").inputs[rows.images]
        np.testing.assert_array_equal(held.image(everything).numpy(), images)
    assert (seen.train.texts == NO_TEXT).any()
    assert (seen.val.texts == NO_TEXT).any()

    encoder = harder.described(recipe, "text").encoder
    shown = [data.text(row) for row in seen.train.texts.tolist() if row != NO_TEXT]
    assert set(encoder.words) == {word for text in shown for word in WORD.findall(text.lower())}
    np.testing.assert_allclose(
        job.towers().text.mean.numpy(), job.train.text(torch.arange(30)).float().mean(0).numpy(), atol=1e-6
    )
    # The database is encoded from the data set's own rows.
    features = harder.encoded(recipe, "text").features
    row = int(seen.train.images[0])
    np.testing.assert_array_equal(features[row], encoder(encoder.prepare(data.text(row))[None])[0].numpy())


def test_missing_texts_that_were_given_as_features_are_zeros(tiny):
    harder = workbench("train_data.missing_texts=0.5")
    harder.dataset.features = {"text": np.ones((100, 3), dtype=np.float32)}
    recipe = build(zoo.load(), "toy", {"image": "tiny", "text": "given"}, [])
    job = make_job(harder, recipe, Cell("toy", "tiny+given", 8, 0), lambda **terms: None)
    sums = job.train.text(torch.arange(60)).sum(dim=1)
    assert sorted(sums.unique().tolist()) == [0, 3]
    assert (sums == 0).sum() == 30


def test_a_bench_says_what_it_was_trained_on_and_never_mixes_it_with_plain_rows(tiny, command):
    options = ["--dataset", "scenes", "--encoders", "tiny+bow", "--bits", "8", "--threads", "1"]
    plain = [word for setting in SMALL for word in ("--set", setting)]
    harder = [*plain, "--set", "train_data.label_noise=0.5", "--set", "train_data.size=40"]
    shown = command("bench", "--method", "toy", *options, *harder)
    assert shown.code == 0, shown
    assert "mAP on scenes, label noise .5, train size 40, tiny+bow" in shown.out
    assert "20 queries, 80 database rows, 40 training rows" in shown.out
    settings = [setting for setting in harder if setting != "--set"]
    again = bench(["toy"], [8], dataset="scenes", encoders="tiny+bow", settings=settings, threads=1)
    assert all(result["reused"] for result in again["results"])
    asked = {"label_noise": 0.5, "size": 40, "seed": 0}
    assert [result["train_data"] for result in again["results"]] == [asked, asked]
    described = read_json(again["results"][0]["run"] + "/run.json")["track"]["training"]
    assert described["settings"] == asked
    assert described["changed"]["size"] == 40

    clean = bench(["toy"], [8], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    assert clean["track"]["id"] != again["track"]["id"]
    assert clean["results"][0]["train_data"] == {}
    tracks = collect(Path("runs"))
    assert sorted(make_table(track).title for track in tracks) == [
        "mAP on scenes, label noise .5, train size 40, tiny+bow",
        "mAP on scenes, tiny+bow",
    ]
    assert set(frame(tracks)["train_data"]) == {"", "label_noise=0.5 size=40 seed=0"}
