"""The drawn data set: the contract, the same content everywhere, and something to learn in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hashzoo.data._scene_captions import NIGHT, NOUNS, PATTERN_TAILS, PATTERN_WORDS, SHADES, WHERE
from hashzoo.data._scene_pictures import LAND, PAINT, SHAPES
from hashzoo.data._scene_world import CLASSES, COLOURS, KINDS, PATTERNS, PLACES, Dice
from hashzoo.data.scenes import Scenes, split_rows
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

SMALL = {"pairs": 100, "pixels": 16}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes()


def texts(dataset: Scenes) -> list[str]:
    return [dataset.text(row) for row in range(len(dataset))]


def pictures(dataset: Scenes) -> np.ndarray:
    return np.stack([np.asarray(dataset.image(row)) for row in range(len(dataset))])


def test_contract(scenes: Scenes) -> None:
    scenes.check()
    assert len(scenes) == 1200
    assert scenes.labels.any(axis=1).all()
    assert all(scenes.text(row).strip() for row in range(len(scenes)))
    image = scenes.image(0)
    assert (type(image), image.mode, image.size) == (Image.Image, "RGB", (64, 64))
    assert "Apache-2.0" in scenes.licence


def test_labels_suit_retrieval(scenes: Scenes) -> None:
    labels = scenes.labels.astype(int)
    assert len(scenes.classes) == 22
    assert 2.8 < labels.sum(axis=1).mean() < 3.8
    assert len(np.unique(labels, axis=1).T) == 22, "two label columns are equal"
    relevant = labels[scenes.splits.query] @ labels[scenes.splits.database].T > 0
    assert 0.25 < relevant.mean() < 0.45
    assert relevant.any(axis=1).all()


@pytest.mark.parametrize("seed", range(8))
def test_every_class_occurs_in_every_split_of_the_smallest_size(seed: int) -> None:
    dataset = Scenes(**SMALL, seed=seed)
    dataset.check()
    splits = dataset.splits
    assert len(splits.query) == 20
    assert sorted([*splits.query, *splits.database]) == list(range(100))
    assert np.array_equal(splits.train, splits.database)
    for rows in (splits.train, splits.query, splits.database):
        assert dataset.labels[rows].any(axis=0).all()
    assert f"seed {seed}" in splits.rule


def test_class_in_one_row_cannot_be_split() -> None:
    labels = np.ones((100, 2), dtype=bool)
    labels[1:, 1] = False
    with pytest.raises(HashzooError, match=r"too rare for a query split with seed 3; ask for more pairs"):
        split_rows(labels, seed=3)


def test_no_two_rows_show_the_same_scene(scenes: Scenes) -> None:
    shown = {(frozenset(scene.things), scene.place, scene.night) for scene in scenes._scenes}
    assert len(shown) == len(scenes)
    assert len(np.unique(pictures(scenes).reshape(len(scenes), -1), axis=0)) == len(scenes)


def test_every_word_of_the_world_can_be_drawn_and_said() -> None:
    assert set(KINDS) == set(NOUNS) == set(SHAPES)
    assert set(COLOURS) == set(SHADES) <= set(PAINT)
    assert {colour for usual in KINDS.values() for colour in usual} <= set(COLOURS)
    assert {*PLACES, ""} == set(WHERE)
    assert set(PLACES) == set(LAND)
    assert set(PATTERNS) == set(PATTERN_WORDS) == set(PATTERN_TAILS)


def test_no_phrase_can_mean_two_things() -> None:
    groups = {"night": NIGHT}
    for table in (NOUNS, SHADES, WHERE):
        groups |= table
    groups |= {name: (*words, *PATTERN_TAILS[name]) for name, words in PATTERN_WORDS.items()}
    phrases = [phrase for group in groups.values() for phrase in group]
    assert len(set(phrases)) == len(phrases)


# A result names its data set by fingerprint, and tables join on it. Whoever changes a digest below
# makes results incomparable with earlier ones, so the content may only change together with
# `hashzoo.data.scenes.VERSION`, which is part of every random stream and of the fingerprint.
GOLDEN = {
    "pixels": "596fa7b319481d4b84566f3dac4d3fcc332cb6bcd991fa26dd59755d4789e849",
    "texts": "88d0d30ac7ff121398f017816ec421e122f49be05e62d3b4ab48af3bcedb9063",
    "labels": "d2d6e3f8ba6e73e3c540c203af0e52cbdc35942b623a04dcb4c1927cf779efa3",
    "splits": "e5f6c70412baffbe18ffb78e20035ee329a68800c267effa369960ef134745f1",
    "fingerprint": "5d56e4fc6019e477bc6ac19cbcfb67aad4df54ad1b97a511d4954793130de9bc",
}


def test_content_is_the_recorded_one() -> None:
    dataset = Scenes(**SMALL, seed=7)
    assert {
        "pixels": digest(pictures(dataset).tobytes()),
        "texts": digest(texts(dataset)),
        "labels": digest(dataset.labels.tolist()),
        "splits": dataset.splits.digest(),
        "fingerprint": dataset.fingerprint(),
    } == GOLDEN


def test_dice_throw_the_documented_stream_of_pcg64() -> None:
    dice = Dice(1, 2)
    first, second = np.random.PCG64((1, 2)).random_raw(2)
    assert dice.below(2**64) == first
    assert dice.below(10) == second % 10


def test_content_does_not_depend_on_the_hash_seed_of_python() -> None:
    code = f"from hashzoo.data.scenes import Scenes; print(Scenes(**{SMALL!r}, seed=7).fingerprint())"
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == GOLDEN["fingerprint"]


def test_a_row_is_the_same_whenever_it_is_drawn() -> None:
    dataset = Scenes(**SMALL)
    first = dataset.image(5).tobytes()
    dataset.image(np.int64(6))
    assert dataset.image(np.int64(5)).tobytes() == first == Scenes(**SMALL).image(5).tobytes()


def test_more_pairs_only_append_rows() -> None:
    fewer, more = Scenes(**SMALL), Scenes(pairs=130, pixels=16)
    assert texts(fewer) == texts(more)[:100]
    assert np.array_equal(fewer.labels, more.labels[:100])
    assert np.array_equal(pictures(fewer), pictures(more)[:100])


def test_seeds_differ() -> None:
    one, other = Scenes(**SMALL, seed=0), Scenes(**SMALL, seed=1)
    assert not np.array_equal(one.labels, other.labels)
    assert texts(one) != texts(other)
    assert not np.array_equal(one.splits.query, other.splits.query)


def test_difficulty_changes_pictures_and_captions_but_no_label() -> None:
    easy, hard = Scenes(**SMALL, difficulty=0), Scenes(**SMALL, difficulty=1)
    assert np.array_equal(easy.labels, hard.labels)
    assert easy.splits.digest() == hard.splits.digest()
    assert not (pictures(easy) == pictures(hard)).all(axis=(1, 2, 3)).any()
    assert sum(map(len, texts(easy))) < sum(map(len, texts(hard)))


@pytest.mark.parametrize(
    "change", [{"difficulty": 0.51}, {"seed": 1}, {"pairs": 101}, {"pixels": 17}], ids=lambda change: next(iter(change))
)
def test_fingerprint_follows_the_settings(change: dict[str, float]) -> None:
    assert Scenes(**(SMALL | change)).fingerprint() != Scenes(**SMALL).fingerprint()


def test_fingerprint_is_of_the_content_not_of_the_settings() -> None:
    class OneText(Scenes):
        def text(self, row: int) -> str:
            return super().text(row) + "!" * (row == 99)

    class OnePixel(Scenes):
        def image(self, row: int) -> Image.Image:
            image = super().image(row)
            if row == 99:
                red, green, blue = image.getpixel((15, 15))
                image.putpixel((15, 15), (red, green, blue ^ 1))
            return image

    class OneLabel(Scenes):
        def __init__(self, **settings: int):
            super().__init__(**settings)
            self.labels[99, 0] ^= True

    kinds = (Scenes, OneText, OnePixel, OneLabel)
    assert len({kind(**SMALL).fingerprint() for kind in kinds}) == len(kinds)
    dataset = Scenes(**SMALL)
    assert dataset.fingerprint() == dataset.fingerprint() == Scenes(**SMALL).fingerprint()


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("pairs", (99, 100_001, 200.0, "200", True, None), "a whole number from 100 to 100000"),
        ("pixels", (15, 513, 32.5), "a whole number from 16 to 512"),
        ("seed", (-1, 2**32, 0.0, False), "a whole number from 0 to 4294967295"),
        ("difficulty", (-0.01, 1.01, float("nan"), "0.5", True, None), "a number from 0 to 1"),
    ],
)
def test_wrong_setting_is_refused_with_its_range(setting: str, values: tuple[object, ...], expected: str) -> None:
    for value in values:
        with pytest.raises(HashzooError) as caught:
            Scenes(**{setting: value})
        assert str(caught.value) == f"dataset.{setting} must be {expected}, not {value!r}"


def test_extreme_settings_are_drawn() -> None:
    assert Scenes(pairs=100, pixels=512, difficulty=0, seed=2**32 - 1).image(0).size == (512, 512)
    odd = Scenes(pairs=100, pixels=33, difficulty=1)
    assert pictures(odd).shape == (100, 33, 33, 3)


def test_captions_at_difficulty_0_tell_every_label() -> None:
    dataset = Scenes(pairs=300, difficulty=0)
    words = NOUNS | WHERE | {"night": NIGHT} | {name: PATTERN_WORDS[name] + PATTERN_TAILS[name] for name in PATTERNS}
    for text, labels in zip(texts(dataset), dataset.labels, strict=True):
        for name in np.array(CLASSES)[labels]:
            assert any(phrase.lower() in text.lower() for phrase in words[name]), (name, text)


def test_captions_vary_and_never_name_a_thing_as_shown_that_is_not(scenes: Scenes) -> None:
    assert len(set(texts(scenes))) > 1180
    for text, scene in zip(texts(scenes), scenes._scenes, strict=True):
        shown = " ".join(part for part in text.split(". ") if "is on another page" not in part).lower()
        for kind in set(KINDS) - scene.labels():
            assert not re.search(rf"\b{kind}\b", shown), text


def precision(features: np.ndarray, dataset: Scenes) -> float:
    """Mean average precision of ridge regression from features to labels, over the classes."""
    train, query = dataset.splits.train, dataset.splits.query
    scaled = (features - features[train].mean(axis=0)) / (features[train].std(axis=0) + 1e-3)
    gram = scaled[train] @ scaled[train].T + scaled.shape[1] * np.eye(len(train))
    targets = dataset.labels[train] - dataset.labels[train].mean(axis=0)
    scores = scaled[query] @ scaled[train].T @ np.linalg.solve(gram, targets)
    hits = np.take_along_axis(dataset.labels[query], np.argsort(-scores, axis=0), axis=0)
    ranks = np.arange(1, len(query) + 1)[:, None]
    return float(((np.cumsum(hits, axis=0) / ranks * hits).sum(axis=0) / hits.sum(axis=0)).mean())


def image_features(dataset: Scenes) -> np.ndarray:
    """A 16 x 16 thumbnail and a colour histogram."""
    images = pictures(dataset).astype(float)
    thumbnails = images.reshape(len(images), 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    codes = (images // 64 @ np.array([16, 4, 1])).astype(int).reshape(len(images), -1)
    return np.hstack([thumbnails / 16, np.stack([np.bincount(code, minlength=64) for code in codes])])


def text_features(dataset: Scenes) -> np.ndarray:
    """A bag of the words of the training captions."""
    bags = [set(re.findall("[a-z]+", text.lower())) for text in texts(dataset)]
    vocabulary = sorted(set().union(*(bags[row] for row in dataset.splits.train)))
    return np.array([[word in bag for word in vocabulary] for bag in bags], dtype=float)


def test_labels_can_be_learnt_from_simple_features_and_better_when_easy() -> None:
    image, text = [], []
    for difficulty in (0, 0.5, 1):
        dataset = Scenes(pairs=800, pixels=32, difficulty=difficulty)
        image.append(precision(image_features(dataset), dataset))
        text.append(precision(text_features(dataset), dataset))
    chance = dataset.labels[dataset.splits.query].mean()
    assert image[0] > image[1] > image[2] > 2 * chance
    assert text[0] > text[1] > text[2] > 3 * chance
    assert text[0] > 0.95


def test_validation_rows_are_held_out_of_training_and_stay_in_the_database() -> None:
    plain, held = Scenes(pairs=100, pixels=16), Scenes(pairs=100, pixels=16, val=0.25)
    held.check()
    assert (len(held.splits.train), len(held.splits.val)) == (60, 20)
    np.testing.assert_array_equal(np.union1d(held.splits.train, held.splits.val), plain.splits.train)
    np.testing.assert_array_equal(held.splits.database, plain.splits.database)
    np.testing.assert_array_equal(held.splits.query, plain.splits.query)
    assert held.splits.digest() != plain.splits.digest()
    assert "20 of them are val" in held.splits.rule
