"""The order in which a database arrives: chunks of rows, and chunks that admit new labels."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benches.rounds import first_rounds
from hashzoo.benches.track import Track, title_of
from hashzoo.data.stream import Stream, chunks, last_labels
from hashzoo.data.training import TrainData, Training
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.settings import parse_assignments


@pytest.fixture(scope="module")
def data():
    return open_dataset("scenes", parse_assignments((*SMALL, "dataset.val=0.25"), []))


def test_floor_of_rows_by_chunk_and_the_last_takes_the_remainder(data):
    arranged, told = Stream(chunk=30).arrange(data)
    assert told == {"chunk": 30, "by": "rows", "order_seed": 0, "database_codes": "method", "rows": [30, 80]}
    splits = arranged.splits
    assert sorted(splits.database) == sorted(data.splits.database)
    assert not np.array_equal(splits.database, data.splits.database)
    np.testing.assert_array_equal(splits.query, data.splits.query)
    assert set(splits.train) == set(data.splits.database) - set(data.splits.val)
    places = {row: place for place, row in enumerate(splits.database)}
    assert [places[row] for row in splits.train] == sorted(places[row] for row in splits.train)
    assert data.splits.rule in splits.rule
    assert arranged.fingerprint() == data.fingerprint()


def test_the_seed_decides_the_order_for_ever(data):
    order = Stream(chunk=40, order_seed=0).arrange(data)[0].splits.database
    np.testing.assert_array_equal(order, Stream(chunk=20).arrange(data)[0].splits.database)
    assert not np.array_equal(order, Stream(chunk=40, order_seed=1).arrange(data)[0].splits.database)
    words = np.random.PCG64((0, 0)).random_raw(80)
    np.testing.assert_array_equal(order, data.splits.database[np.argsort(words, kind="stable")])


def test_a_chunk_holds_its_training_and_val_rows_and_says_where_they_stand(data):
    arranged, told = Stream(chunk=30).arrange(data)
    training = Training.of(arranged, TrainData(size=40))
    made = chunks(training, arranged.splits.database, told["rows"])
    assert [len(chunk.rows) for chunk in made] == [30, 50]
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in made]), arranged.splits.database)
    for split in ("train", "val"):
        together = np.concatenate([getattr(chunk.training, split).images for chunk in made])
        assert set(together) == set(getattr(training, split).images)
        assert len(together) == len(getattr(training, split))
    for chunk in made:
        np.testing.assert_array_equal(chunk.rows[chunk.places], chunk.training.train.images)
        np.testing.assert_array_equal(chunk.training.train.labels, data.labels[chunk.rows[chunk.places]])


def test_by_classes_a_row_arrives_with_the_last_of_its_labels(data):
    arranged, told = Stream(chunk=15, by="classes", order_seed=2).arrange(data)
    database, ends = arranged.splits.database, told["rows"]
    assert len(ends) > 2
    assert ends[-1] == len(database)
    assert min(np.diff([0, *ends])) >= 15
    assert sorted(column for columns in told["labels"] for column in columns) == list(range(len(data.classes)))
    round_of = {column: number for number, columns in enumerate(told["labels"]) for column in columns}
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        for row in database[start:end]:
            assert max(round_of[column] for column in np.flatnonzero(data.labels[row])) == number
    track = Track.of(arranged, stream=told)
    expected = [1 + max(round_of[c] for c in np.flatnonzero(labels)) for labels in track.query_labels]
    np.testing.assert_array_equal(first_rounds(track), expected)


def test_the_last_label_of_a_row():
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], dtype=bool)
    assert last_labels(labels).tolist() == [2, 0, 0]


def test_what_is_asked_of_a_stream_makes_tracks_of_their_own(data):
    asked = [
        *(Stream(chunk=30), Stream(chunk=40), Stream(chunk=30, order_seed=1), Stream(chunk=30, by="classes")),
        Stream(chunk=30, database_codes="kept"),
    ]
    tracks = [Track.of(data)]
    for stream in asked:
        arranged, told = stream.arrange(data)
        tracks.append(Track.of(arranged, stream=told))
    assert len({track.id for track in tracks}) == len(tracks)
    assert "stream" not in tracks[0].describe()
    assert [title_of(track.describe()) for track in (tracks[0], tracks[1], tracks[4], tracks[5])] == [
        *("scenes", "scenes, online in chunks of 30", "scenes, online in chunks of 30 by classes"),
        "scenes, online in chunks of 30, codes kept",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"chunk": 0}, "a chunk is a whole number from 1 to 4294967295, not 0"),
        ({"chunk": True}, "not True"),
        ({"order_seed": -1}, "the seed of the order is a whole number from 0"),
        ({"by": "labels"}, "chunks are made by rows or classes, not 'labels'"),
        ({"database_codes": "new"}, "codes of the database are method or kept or recomputed, not 'new'"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(HashzooError, match=said):
        Stream(**wrong)


def test_one_chunk_is_no_stream(data):
    for by in ("rows", "classes"):
        with pytest.raises(HashzooError, match="make one chunk of the 80 database rows of 'scenes'; ask for a smaller"):
            Stream(chunk=41 if by == "rows" else 70, by=by).arrange(data)


def test_a_chunk_without_a_training_row_is_refused(data):
    arranged, told = Stream(chunk=10).arrange(data)
    with pytest.raises(HashzooError, match="has no training row; ask for a larger --chunk or train_data.size"):
        chunks(Training.of(arranged, TrainData(size=2)), arranged.splits.database, told["rows"])
