"""The data set contract: what `check` refuses, what the digests see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hashzoo.data import Dataset, Splits
from hashzoo.errors import HashzooError


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


GOOD = Splits(train=rows(0, 1), query=rows(2, 3), database=rows(1, 0, 4), rule="by hand")


class Tiny(Dataset):
    """Five rows of 2 x 1 pixels; each test spoils one thing."""

    name = "tiny"

    def __init__(self) -> None:
        self.classes = ("cat", "dog")
        self.labels = np.array([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0]], dtype=bool)
        self.splits = GOOD
        self.texts = ["a cat", "a dog", "a cat and a dog", "some dog", "two cats"]
        self.pixels = np.arange(30, dtype=np.uint8).reshape(5, 1, 2, 3)

    def image(self, row: int) -> Image.Image:
        return Image.fromarray(self.pixels[row])

    def text(self, row: int) -> str:
        return self.texts[row]


def refusal(act, *arguments: object) -> str:
    with pytest.raises(HashzooError) as caught:
        act(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_good_splits_pass_and_train_may_overlap_database() -> None:
    GOOD.check(5)


@pytest.mark.parametrize("name", ["train", "query", "database"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[0]], dtype=np.int64), "split '{}' must be a 1-D int64 array, not 2-D int64"),
        (np.array([0], dtype=np.int32), "split '{}' must be a 1-D int64 array, not 1-D int32"),
        (np.array([True]), "split '{}' must be a 1-D int64 array, not 1-D bool"),
        (rows(), "split '{}' is empty; every split needs at least one row"),
        (rows(0, 5), "split '{}' names rows outside 0..4"),
        (rows(0, -1), "split '{}' names rows outside 0..4"),
        (rows(4, 4), "split '{}' names some row twice"),
    ],
)
def test_malformed_split_is_refused(name: str, bad: np.ndarray, message: str) -> None:
    assert refusal(replace(GOOD, **{name: bad}).check, 5) == message.format(name)


@pytest.mark.parametrize("other", ["train", "database", "val"])
def test_query_rows_may_not_leak(other: str) -> None:
    leaky = replace(GOOD, **{other: rows(0, 1, 3)})
    assert refusal(leaky.check, 5) == (
        f"1 of 2 query rows are also in '{other}' (first: row 3); take them out of one of the two, "
        f"or type --allow-overlap, which marks every table"
    )
    assert leaky.overlaps() == [f"1 of 2 query rows are also in '{other}' (first: row 3)"]


def test_query_rows_that_leak_are_let_through_when_asked_for() -> None:
    leaky = replace(GOOD, database=rows(0, 1, 3))
    leaky.check(5, allow_overlap=True)
    with pytest.raises(HashzooError, match="2 of 2 val rows are also in 'train'"):
        replace(leaky, val=rows(0, 1)).check(5, allow_overlap=True)


def test_validation_rows_are_no_training_rows_and_may_be_missing() -> None:
    assert refusal(replace(GOOD, val=rows(4, 1)).check, 5) == (
        "1 of 2 val rows are also in 'train' (first: row 1); take them out of one of the two"
    )
    replace(GOOD, val=rows(4)).check(5)


def test_split_digest_sees_order_and_borders_but_not_the_rule() -> None:
    variants = [
        GOOD,
        replace(GOOD, train=rows(1, 0)),
        replace(GOOD, train=rows(0), query=rows(1, 2, 3)),
        replace(GOOD, query=rows(2), database=rows(3, 1, 0, 4)),
        replace(GOOD, train=GOOD.query, query=GOOD.train),
        replace(GOOD, database=rows(1, 0)),
        replace(GOOD, val=rows(4)),
    ]
    assert len({splits.digest() for splits in variants}) == len(variants)
    assert replace(GOOD, rule="told otherwise").digest() == GOOD.digest()
    assert replace(GOOD, train=np.array([0, 9, 1, 9])[::2]).digest() == GOOD.digest()


def test_good_dataset_passes() -> None:
    dataset = Tiny()
    dataset.check()
    assert len(dataset) == 5
    Tiny.prepare()


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.ones((5, 2), dtype=np.int64), ("cat", "dog"), "labels of 'tiny' must be a 2-D bool array, not 2-D int64"),
        (np.ones(5, dtype=bool), ("cat", "dog"), "labels of 'tiny' must be a 2-D bool array, not 1-D bool"),
        (
            np.ones((5, 2), dtype=bool),
            ("cat", "dog", "cow"),
            "'tiny' has 2 label columns but 3 class names; make them equal",
        ),
        (np.ones((5, 2), dtype=bool), ("cat", "cat"), "'tiny' has a class name twice; class names must differ"),
    ],
)
def test_bad_labels_are_refused(labels: np.ndarray, classes: tuple[str, ...], message: str) -> None:
    dataset = Tiny()
    dataset.labels, dataset.classes = labels, classes
    assert refusal(dataset.check) == message


def test_dataset_check_includes_the_splits() -> None:
    dataset = Tiny()
    dataset.splits = replace(GOOD, database=rows(0, 9))
    assert refusal(dataset.check) == "split 'database' names rows outside 0..4"


def test_fingerprint_sees_every_part_of_the_content() -> None:
    def changed(field: str, value: object) -> str:
        dataset = Tiny()
        setattr(dataset, field, value)
        return dataset.fingerprint()

    original = Tiny()
    labels, pixels, texts = original.labels.copy(), original.pixels.copy(), list(original.texts)
    labels[4, 1] = True
    pixels[4, 0, 1, 2] += 1
    texts[4] = "two cats "
    digests = [
        original.fingerprint(),
        changed("labels", labels),
        changed("labels", original.labels[:, ::-1]),
        changed("pixels", pixels),
        changed("pixels", original.pixels.reshape(5, 2, 1, 3)),  # the same bytes, another shape
        changed("texts", texts),
        changed("texts", [*original.texts[:3], "two cats", "some dog"]),
        changed("classes", ("cat", "cow")),
    ]
    assert len(set(digests)) == len(digests)
    assert original.fingerprint() == Tiny().fingerprint() == changed("splits", None)
