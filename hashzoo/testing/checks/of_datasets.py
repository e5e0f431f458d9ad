"""Checks of data sets, with default settings: all labels and splits, and a sample of the rows.

No check prepares a data set or lets it fetch anything. Where one is not prepared the checks do not apply, and say
what to type first.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
from PIL.Image import Image

from hashzoo.data.base import Dataset
from hashzoo.errors import HashzooError
from hashzoo.opening import dataset_class
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.probing import failure, other_settings, watched_generators

SAMPLE = 40  # rows that are looked at
FEW = 12  # rows of which fingerprints are taken
QUERIES, OTHERS, PICTURES = 200, 20_000, 500  # compared in the search for repetitions


class NotPrepared(Exception):
    """Opening the data set would fetch or make files."""


def open_dataset(subject: Subject, **settings: Any) -> Dataset:
    """The data set, provided that it is prepared."""
    target, chosen = dataset_class(subject.name)
    with without_fetching(target) as asked:
        try:
            return target(**chosen | settings)
        except Exception as error:
            if isinstance(error, HashzooError) and "datasets prepare" in str(error):
                raise NotPrepared(str(error)) from error
            if asked:
                raise NotPrepared(f"it is not prepared; type: hashzoo datasets prepare {subject.name}") from error
            raise


@contextlib.contextmanager
def without_fetching(target: type[Dataset]) -> Iterator[list[bool]]:
    """Inside the block `prepare` and connections are refused; the list is not empty when one was asked for."""
    asked: list[bool] = []

    def refuse(*arguments: Any, **keywords: Any) -> None:
        asked.append(True)
        raise OSError("the checks of data sets fetch nothing")

    with (
        mock.patch.object(target, "prepare", refuse),
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
    ):
        yield asked


@functools.lru_cache(maxsize=8)
def opened(subject: Subject, again: int = 0) -> Dataset:
    """The data set as all checks look at it; `again` asks for another, equal one."""
    return open_dataset(subject)


def sample(rows: np.ndarray, size: int = SAMPLE) -> list[int]:
    """At most so many of these rows, always the same."""
    if len(rows) > size:
        rows = np.sort(np.random.default_rng(0).choice(rows, size, replace=False))
    return [int(row) for row in rows]


def item(dataset: Dataset, row: int) -> tuple[Any, ...]:
    """What a row holds, as values that can be compared."""
    picture = dataset.image(row)
    return picture.mode, picture.size, picture.tobytes(), dataset.text(row)


def few(dataset: Dataset) -> Dataset:
    """A shallow copy with the first rows only, whose fingerprint takes no time."""
    fewer = copy.copy(dataset)
    fewer.labels = dataset.labels[:FEW]
    return fewer


@functools.lru_cache(maxsize=64)
def not_prepared(subject: Subject) -> str:
    """Why nothing can be looked at here."""
    try:
        opened(subject)
    except NotPrepared as reason:
        return str(reason)
    except Exception:
        return ""  # a check says so
    return ""


def not_opened(subject: Subject) -> str:
    """Why there is nothing to be looked at; here and below, the check that says so fails for the same reason."""
    return not_prepared(subject) or failure(check_dataset_can_be_opened, subject)


def inconsistent(subject: Subject) -> str:
    return not_opened(subject) or failure(check_labels_classes_and_splits_agree, subject)


def no_groups(subject: Subject) -> str:
    """Why nothing has to stay together."""
    return inconsistent(subject) or ("its rows are in no groups" if opened(subject).groups is None else "")


def no_items(subject: Subject) -> str:
    return inconsistent(subject) or failure(check_pictures_are_rgb_and_texts_are_str, subject)


def not_repeatable(subject: Subject) -> str:
    return no_items(subject) or failure(check_same_row_gives_the_same_item, subject)


def unread_fingerprint(subject: Subject) -> str:
    """Why the fingerprint cannot be seen to follow the rows: it never asks for one."""
    if not_repeatable(subject):
        return not_repeatable(subject)
    asked = few(opened(subject, again=1))
    read: list[int] = []

    def watched(method: Callable[[int], Any], row: int) -> Any:
        read.append(row)
        return method(row)

    for name in ("image", "text"):
        setattr(asked, name, functools.partial(watched, getattr(asked, name)))
    asked.fingerprint()
    return (
        "" if read else "the fingerprint reads no row (perhaps checksums of files), so that none can be altered for it"
    )


@check("dataset")
def check_prepare_takes_the_settings(subject: Subject) -> None:
    """`prepare` takes every keyword of the constructor, as `hashzoo datasets prepare` passes them."""
    target, chosen = dataset_class(subject.name)
    try:
        inspect.signature(target.prepare).bind(**chosen)
    except TypeError as error:
        raise AssertionError(f"prepare does not take the keywords of the constructor: {error}") from error


@check("dataset", unless=not_prepared)
def check_dataset_can_be_opened(subject: Subject) -> None:
    """The data set can be opened with its default settings."""
    dataset = opened(subject)
    assert isinstance(dataset, Dataset), f"it is a {type(dataset).__name__}; derive it from hashzoo.Dataset"


@check("dataset", unless=not_opened)
def check_labels_classes_and_splits_agree(subject: Subject) -> None:
    """Labels are (N, C) bool for C different classes, and splits are rows of them of which no query row leaks."""
    opened(subject).check()


@check("dataset", unless=not_opened)
def check_name_is_what_users_type(subject: Subject) -> None:
    """The attribute `name` is the name that the plugin registers, with the variant."""
    name = opened(subject).name
    assert name == subject.name, f"users type '{subject.name}', but its name is '{name}'"


@check("dataset", unless=not_opened)
def check_licence_is_said(subject: Subject) -> None:
    """The licence says who made the data, under which terms."""
    licence = opened(subject).licence
    assert isinstance(licence, str), f"its licence is {licence!r}, not a text"
    assert licence.strip(), "its licence is empty; say who made the data, and under which terms they may be used"


@check("dataset", unless=inconsistent)
def check_classes_are_words(subject: Subject) -> None:
    """Every class has a name that can stand in a label prompt."""
    for column, name in enumerate(opened(subject).classes):
        assert isinstance(name, str), f"the name of class {column} is {name!r}, not a word"
        assert name.strip(), f"the name of class {column} is {name!r}; name what it stands for"


@check("dataset", unless=inconsistent)
def check_every_class_has_rows(subject: Subject) -> None:
    """At least one row belongs to each class."""
    dataset = opened(subject)
    empty = [dataset.classes[column] for column in np.flatnonzero(~dataset.labels.any(axis=0))]
    assert not empty, f"no row has the label {', '.join(map(str, empty[:5]))} ({len(empty)} of {len(dataset.classes)})"


@check("dataset", unless=inconsistent)
def check_every_training_row_has_a_label(subject: Subject) -> None:
    """No training row is without a label: it would be a negative to all others, itself among them."""
    dataset = opened(subject)
    bare = dataset.splits.train[~dataset.labels[dataset.splits.train].any(axis=1)]
    assert not len(bare), f"{len(bare)} training rows have no label (first: row {bare[0]}); take them out of the split"


@check("dataset", unless=inconsistent)
def check_every_query_has_something_relevant(subject: Subject) -> None:
    """Every query row shares a label with some database row: without, it scores 0 whatever a method does."""
    dataset = opened(subject)
    found = dataset.labels[dataset.splits.database].any(axis=0)
    bare = dataset.splits.query[~(dataset.labels[dataset.splits.query] & found).any(axis=1)]
    assert not len(bare), (
        f"{len(bare)} query rows share no label with any database row (first: row {bare[0]}); "
        f"take them out of the split"
    )


@check("dataset", unless=no_groups)
def check_groups_stay_together(subject: Subject) -> None:
    """No group has some of its rows among the queries and others in train, val or database."""
    dataset = opened(subject)
    groups, splits = np.asarray(dataset.groups), dataset.splits
    others = np.unique(np.concatenate([splits.train, splits.val, splits.database]))
    shared = splits.query[np.isin(groups[splits.query], groups[others])]
    assert not len(shared), (
        f"{len(shared)} query rows are of groups that are in other splits too (first: row {shared[0]}); "
        f"put whole groups into the query split"
    )


@check("dataset", unless=inconsistent)
def check_pictures_are_rgb_and_texts_are_str(subject: Subject) -> None:
    """`image` gives an RGB PIL image and `text` a str, for every row."""
    dataset = opened(subject)
    for row in sample(np.arange(len(dataset))):
        picture, text = dataset.image(row), dataset.text(row)
        assert isinstance(picture, Image), f"image({row}) is {type(picture).__name__}, not a PIL image"
        assert picture.mode == "RGB", f"image({row}) is of mode {picture.mode}; return image.convert('RGB')"
        assert isinstance(text, str), f"text({row}) is {type(text).__name__}, not a str"


@check("dataset", unless=no_items)
def check_same_row_gives_the_same_item(subject: Subject) -> None:
    """A row that is read again has the same pixels and the same text."""
    dataset = opened(subject)
    for row in sample(np.arange(len(dataset))):
        assert item(dataset, row) == item(dataset, row), f"row {row} holds something else when it is read again"


@check("dataset", unless=not_repeatable)
def check_second_instance_has_the_same_rows(subject: Subject) -> None:
    """Opened again, and read in another order, it has the same classes, labels, splits and items, as workers expect."""
    one, other = opened(subject), opened(subject, again=1)
    assert one.classes == other.classes, "opened again it has other classes"
    assert np.array_equal(one.labels, other.labels), "opened again it has other labels"
    assert one.splits.digest() == other.splits.digest(), "opened again it has other splits; draw them from a fixed seed"
    rows = sample(np.arange(len(one)))
    held = {row: item(one, row) for row in rows}
    changed = [row for row in reversed(rows) if item(other, row) != held[row]]
    assert not changed, f"opened again, and read in another order, row {changed[0]} holds something else"


@check("dataset", unless=not_repeatable)
def check_no_query_is_repeated_elsewhere(subject: Subject) -> None:
    """No query row has both the text and the pixels of a training, validation or database row."""
    dataset = opened(subject)
    splits = dataset.splits
    queries = defaultdict(list)
    for row in sample(splits.query, QUERIES):
        queries[dataset.text(row)].append(row)
    compared = 0
    for row in sample(np.unique(np.concatenate([splits.train, splits.val, splits.database])), OTHERS):
        for query in queries.get(dataset.text(row), ()):
            assert item(dataset, row) != item(dataset, query), (
                f"query row {query} and row {row} of another split are the same pair; remove one"
            )
            compared += 1
        if compared >= PICTURES:
            return


@check("dataset", unless=not_repeatable)
def check_fingerprint_is_stable(subject: Subject) -> None:
    """The fingerprint is the same at every call and in every instance: otherwise no cached feature is found again."""
    one, other = few(opened(subject)), few(opened(subject, again=1))
    first = one.fingerprint()
    assert isinstance(first, str), f"the fingerprint is {first!r}, not a str"
    assert first, "the fingerprint is empty"
    assert one.fingerprint() == first, "the fingerprint is another at the second call"
    assert other.fingerprint() == first, "opened again, the data set has another fingerprint"


@check("dataset", unless=unread_fingerprint)
def check_fingerprint_follows_content(subject: Subject) -> None:
    """The fingerprint changes with one label, one class name, one text and one pixel."""
    dataset = opened(subject, again=1)
    before = few(dataset).fingerprint()
    last = len(few(dataset)) - 1
    labels = dataset.labels[:FEW].copy()
    labels[last, 0] ^= True
    picture = dataset.image(last).copy()
    picture.putpixel((0, 0), tuple(255 - value for value in np.asarray(picture)[0, 0].tolist()))
    altered: dict[str, tuple[str, Any]] = {
        "a label": ("labels", labels),
        "the name of a class": ("classes", (f"not {dataset.classes[0]}", *dataset.classes[1:])),
        "a text": ("text", lambda row: dataset.text(row) + " and more" * (row == last)),
        "a pixel": ("image", lambda row: picture if row == last else dataset.image(row)),
    }
    for what, (name, value) in altered.items():
        other = few(dataset)
        setattr(other, name, value)
        assert other.fingerprint() != before, (
            f"the fingerprint stays as it is when {what} changes: other content passes for the same"
        )


@check("dataset", unless=not_repeatable)
def check_fingerprint_follows_settings(subject: Subject) -> None:
    """Settings that give the first rows another content give the data set another fingerprint."""
    before = few(opened(subject, again=1))
    for name, values in other_settings(dataset_class(subject.name)[0], given=("variant",)):
        for value in values:
            try:
                after = few(open_dataset(subject, **{name: value}))
            except Exception:  # the data set refuses the value, in whatever way, or is not prepared for it
                continue
            assert _content(before) == _content(after) or before.fingerprint() != after.fingerprint(), (
                f"{name}={value} makes other rows, but the same fingerprint; put {name} into fingerprint()"
            )
            break


@check("dataset", unless=not_repeatable)
def check_reading_leaves_random_numbers_alone(subject: Subject) -> None:
    """Opening and reading take nothing from, and do nothing to, the global random number generators."""
    with watched_generators() as changed:
        dataset = open_dataset(subject)
    assert not changed, f"opening it changes {' and '.join(changed)}; use a generator of your own"
    with watched_generators() as changed:
        for row in sample(np.arange(len(dataset))):
            item(dataset, row)
    assert not changed, f"reading rows changes {' and '.join(changed)}; use a generator of your own"


def _content(dataset: Dataset) -> tuple[Any, ...]:
    """All that features are made of, and the labels."""
    return tuple(dataset.classes), dataset.labels.tolist(), [item(dataset, row) for row in range(len(dataset))]
