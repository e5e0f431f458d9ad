"""Prepared data sets: what is stored comes back, what was changed is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashzoo.data.base import Splits
from hashzoo.data.prepared import Prepared, Rows, write_prepared
from hashzoo.errors import HashzooError

LABELS = np.eye(3, dtype=bool)[np.arange(12) % 3]
SPLITS = Splits(np.arange(6, 12), np.arange(6), np.arange(6, 12), "by hand")
HOW = "hashzoo datasets prepare mine"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row in range(12):
        Image.new("RGB", (4, 4), (20 * row, 0, 0)).save(folder / f"{row}.png")
    return folder


@pytest.fixture
def rows(pictures: Path) -> Rows:
    texts = [f"picture {row}\nof a ☃" for row in range(12)]
    images = [f"{row}.png" for row in range(12)]
    return Rows(("a", "b", "c"), LABELS, SPLITS, images=images, image_root=pictures, texts=texts)


def opened(rows: Rows, folder: Path) -> Prepared:
    write_prepared(folder, "mine", rows, "ours")
    return Prepared(folder, HOW)


def test_what_is_stored_comes_back(rows, tmp_path):
    data = opened(rows, tmp_path / "out")
    data.check()
    data.verify()
    assert (data.name, data.classes, data.licence, data.splits.rule) == ("mine", ("a", "b", "c"), "ours", "by hand")
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.splits.digest() == SPLITS.digest()
    assert data.text(3) == "picture 3\nof a ☃"
    assert data.image(5).getpixel((0, 0)) == (100, 0, 0)
    assert data.raw == {"image", "text"}


def test_groups_are_kept_and_are_no_content(rows, tmp_path):
    plain = opened(rows, tmp_path / "plain")
    assert plain.groups is None
    grouped = opened(replace(rows, groups=np.arange(12) // 2), tmp_path / "grouped")
    assert np.asarray(grouped.groups).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert grouped.fingerprint() == plain.fingerprint()
    with pytest.raises(HashzooError, match="11 groups"):
        replace(rows, groups=np.arange(11)).check()


def test_features_stand_in_for_items(rows, tmp_path):
    features = np.arange(24, dtype=np.float16).reshape(12, 2)
    data = opened(replace(rows, images=None, image_root=None, features={"image": features}), tmp_path / "out")
    np.testing.assert_array_equal(data.features["image"], features)
    assert data.features["image"].dtype == np.float16
    assert data.raw == {"text"}
    with pytest.raises(HashzooError, match="'mine' has no pictures, only their features; type --encoders given"):
        data.image(0)


def test_the_fingerprint_follows_the_content_and_not_the_place(rows, pictures, tmp_path):
    first = opened(rows, tmp_path / "1").fingerprint()
    moved = pictures.rename(tmp_path / "moved")
    rows = replace(rows, image_root=moved)
    assert opened(rows, tmp_path / "2").fingerprint() == first
    others = [
        replace(rows, labels=~LABELS),
        replace(rows, texts=["other", *rows.texts[1:]]),
        replace(rows, classes=("a", "b", "d")),
        replace(rows, images=[*rows.images[1:], rows.images[0]]),
    ]
    assert len({first, *(opened(other, tmp_path / "3").fingerprint() for other in others)}) == 5


@pytest.mark.parametrize("file", ["labels.npy", "texts.jsonl", "images.jsonl", "splits.npz"])
def test_a_changed_file_is_named(file, rows, tmp_path):
    data = opened(rows, tmp_path / "out")
    with open(tmp_path / "out" / file, "ab") as stream:
        stream.write(b"\n")
    with pytest.raises(HashzooError, match=f"{file} is not what was prepared: type {HOW}"):
        data.verify()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.npy", b""),
        ("labels.npy", np.ones(12, dtype=bool)),
        ("labels.npy", np.ones((12, 2), dtype=bool)),
        ("labels.npy", np.ones((12, 3))),
        ("texts.jsonl", b'"a"\n' * 11 + b"null\n"),
        ("texts.jsonl", b'"a"\n' * 11 + b"[" * 100_000 + b"\n"),
        ("text_features.npy", np.ones(12, dtype=np.float32)),
        ("text_features.npy", np.ones((11, 2), dtype=np.float32)),
    ],
)
def test_a_file_that_cannot_be_a_part_of_it_is_named(file, content, rows, tmp_path):
    features = {"text": np.ones((12, 2), dtype=np.float32)}
    opened(replace(rows, features=features), tmp_path / "out")
    path = tmp_path / "out" / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(HashzooError, match=rf"{file} is not what was prepared: type {HOW}"):
        Prepared(tmp_path / "out", HOW)


def test_a_changed_picture_is_named(rows, pictures, tmp_path):
    data = opened(rows, tmp_path / "out")
    Image.new("RGB", (4, 4), "blue").save(pictures / "7.png")
    with pytest.raises(HashzooError, match="7.png is not what was prepared"):
        data.verify()


def test_nothing_counts_until_all_is_written(rows, pictures, tmp_path):
    before = opened(rows, tmp_path / "out").manifest
    (pictures / "11.png").unlink()
    for folder in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(HashzooError, match="11.png cannot be read"):
            write_prepared(folder, "mine", rows, "ours")
        assert not list(folder.glob(".*"))
    assert Prepared(tmp_path / "out", HOW).manifest == before  # what was prepared before stays
    with pytest.raises(HashzooError, match=f"it is not prepared yet: type {HOW}"):
        Prepared(tmp_path / "new", HOW)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"texts": ["one"]}, "the parts have different numbers of rows (12 labels, 12 images, 1 texts)"),
        ({"texts": None}, "rows have neither texts nor text features"),
        ({"features": {"text": np.ones(12)}}, "text features must be a 2-D array of floats, not 1-D float64"),
        ({"features": {"text": np.full((12, 2), np.nan)}}, "text features hold values that are not finite"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, said, rows, tmp_path):
    with pytest.raises(HashzooError) as caught:
        write_prepared(tmp_path / "out", "mine", replace(rows, **change), "ours")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()
