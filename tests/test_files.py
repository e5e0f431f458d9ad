"""`files/NAME`: the exchange files of DCMH, DCHMT and DeepHash work at once; hostile ones are refused in a sentence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from archive_sets import picture
from helpers import SHARED
from scipy.io import savemat

from hashzoo.data.exchange import read_exchange
from hashzoo.data.files import Files
from hashzoo.errors import HashzooError

N = 60
NOISE = np.random.default_rng(0)
LABELS = (NOISE.random((N, 5)) < 0.4).astype(np.uint8)
LABELS[:, 0] |= ~LABELS.any(axis=1)
TAGS = NOISE.integers(0, 2, (N, 7)).astype(np.uint8)
PIXELS = NOISE.integers(0, 256, (8, 6, 3, N)).astype(np.uint8)  # of 8 rows and 6 columns
FEATURES = NOISE.random((N, 9))
TRIPLE = {"IAll": FEATURES, "YAll": TAGS, "LAll": LABELS}
REAL = [SHARED / f"mirflickr25k-{name}.mat" for name in ("lall", "yall")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "given"
    path.mkdir()
    return path


def save_v73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As MATLAB does: axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(str(array.dtype))


def save(folder: Path, kind: str) -> None:
    if kind == "one file":
        savemat(folder / "FLICKR-25K.mat", TRIPLE)
    elif kind == "three files":
        for name, array in TRIPLE.items():
            savemat(folder / f"mirflickr25k-{name.lower()}.mat", {name: array}, do_compression=True)
    elif kind == "v7.3":
        save_v73(folder / "all.mat", TRIPLE)
    elif kind == "npy":
        for name, array in TRIPLE.items():
            np.save(folder / f"{name}.npy", array)
    else:
        savemat(folder / "all.mat", {name: array.T for name, array in TRIPLE.items()})


def refusal(folder: Path) -> str:
    with pytest.raises(HashzooError) as caught:
        Files.prepare("mine", folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(HashzooError, match="it is not prepared yet"):
        Files("mine")
    return str(caught.value)


@pytest.mark.parametrize("kind", ["one file", "three files", "v7.3", "npy", "transposed"])
def test_the_triple_of_dcmh_is_read_from_every_kind_of_file(kind, folder):
    save(folder, kind)
    Files.prepare("mine", folder)
    data = Files("mine")
    np.testing.assert_array_equal(data.labels, LABELS > 0)
    np.testing.assert_array_equal(data.features["text"], TAGS.astype(np.float32))
    np.testing.assert_allclose(data.features["image"], FEATURES, rtol=1e-6)
    assert {array.dtype for array in data.features.values()} == {np.dtype(np.float32)}
    assert (data.name, data.raw, data.classes[0]) == ("files/mine", set(), "label0")
    assert (list(data.splits.query), list(data.splits.train)) == ([*range(6)], [*range(6, 36)])
    assert list(data.splits.database) == [*range(6, N)]


@pytest.mark.parametrize(
    ("version", "axes"), [("v5", (0, 1, 2, 3)), ("v5", (3, 0, 1, 2)), ("v5", (3, 2, 0, 1)), ("v7.3", (0, 1, 2, 3))]
)
def test_pictures_of_every_layout_stand_upright(version, axes, folder):
    arrays = {**TRIPLE, "IAll": PIXELS.transpose(axes)}
    if version == "v5":
        savemat(folder / "all.mat", arrays)
    else:
        save_v73(folder / "all.mat", arrays)
    Files.prepare("mine", folder)
    data = Files("mine")
    data.verify()
    assert data.image(7).size == (6, 8)
    np.testing.assert_array_equal(np.asarray(data.image(7)), PIXELS[..., 7])


def test_names_of_tags_and_labels_make_texts_and_classes(folder):
    save(folder, "one file")
    (folder / "TagList.txt").write_text("".join(f"tag{n} 5\r\n" for n in range(7)))
    (folder / "classes.txt").write_text("sky\nsea\ndog\ncat\ncar\n")
    Files.prepare("mine", folder)
    data = Files("mine")
    assert data.classes == ("sky", "sea", "dog", "cat", "car")
    assert data.text(0) == " ".join(f"tag{n}" for n in np.flatnonzero(TAGS[0]))
    assert set(data.features) == {"image", "text"}
    (folder / "TagList.txt").write_text("one\n")
    with pytest.raises(HashzooError, match="has 1 tags where the texts have 7 columns"):
        Files.prepare("mine", folder)


def test_it_works_at_once(folder, command, tiny):
    save(folder, "three files")
    assert command("datasets", "prepare", "files/mine", "--from", folder).code == 0
    found = json.loads(command("datasets", "verify", "files/mine", "--json").out)
    assert (found["dataset"], found["protocol"], found["ok"]) == ("files/mine", "mine", True), found
    assert found["counts"] == {"train": 30, "val": 0, "query": 6, "database": 54, "labels": 5}
    bench = command(
        *("bench", "--dataset", "files/mine", "--method", "random", "--bits", 8, "--encoders", "given", "--jobs", 1)
    )
    assert bench.code == 0, bench.err
    assert "mAP on files/mine" in bench.out


@pytest.mark.parametrize("captions", ["matrix", "column", "cells", "text"])
def test_the_lists_of_dchmt_are_read(captions, folder):
    names = [f"/home/somebody/dataset/mirflickr/im{n}.jpg" for n in range(N)]
    texts = [f"words of {n} \u96ea" for n in range(N)]
    for n in range(N):
        picture(folder / f"pictures/mirflickr/im{n}.jpg", n)
    savemat(folder / "index.mat", {"index": names})
    savemat(folder / "label.mat", {"category": LABELS.astype(float)})
    cells = np.empty((1, N), dtype=object)
    for n in range(N):
        cells[0, n] = np.array([texts[n], "another"][: 1 + n % 2])
    saved = {"matrix": texts, "column": [[text] for text in texts], "cells": cells}
    if captions == "text":
        (folder / "caption.txt").write_text("".join(f"{text}\r\n" for text in texts), encoding="utf-8")
    else:
        savemat(folder / "caption.mat", {"caption": saved[captions]})
    Files.prepare("mine", folder)
    data = Files("mine")
    assert [data.text(n) for n in range(N)] == texts
    np.testing.assert_array_equal(data.splits.query, np.random.RandomState(1814).permutation(N)[:6])
    assert data.image(5).size == (8, 8)
    (folder / "pictures/mirflickr/im3.jpg").unlink()
    Files.prepare("mine", folder)
    assert len(Files("mine")) == N - 1
    assert "1 pictures are missing" in Files("mine").notes()[0]


def test_cells_of_v73_are_read(folder):
    names = [f"im{n}.jpg" for n in range(N)]
    for name in names:
        picture(folder / name, 1)
    save_v73(folder / "rest.mat", {"LAll": LABELS, "YAll": TAGS})
    with h5py.File(folder / "names.mat", "w") as file:
        cells = file.create_dataset("FAll", (1, N), dtype=h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        for n, name in enumerate(names):
            file[f"#refs#/{n}"] = np.frombuffer(name.encode("utf-16-le"), dtype="<u2")[:, None]
            file[f"#refs#/{n}"].attrs["MATLAB_class"] = np.bytes_("char")
            cells[0, n] = file[f"#refs#/{n}"].ref
    assert read_exchange(folder).names == names


def lists(folder: Path, rows: dict[str, list[str]]) -> None:
    for name in ("train", "test", "database"):
        (folder / f"{name}.txt").write_text("".join(f"{line}\r\n" for line in rows[name]))


def test_the_lists_of_deephash_are_read(folder, command):
    lines = [f"set a/im{n}.jpg " + " ".join(map(str, LABELS[n])) for n in range(N)]
    for n in range(N):
        picture(folder / f"images/set a/im{n}.jpg", n)
    lists(folder, {"train": lines[10:30], "test": lines[:10], "database": lines[10:]})
    said = command("datasets", "prepare", "files/mine", "--from", folder)
    assert said.code == 0, said.err
    assert "label names stand in for them" in said.err
    data = Files("mine")
    np.testing.assert_array_equal(data.labels[data.splits.query], LABELS[:10] > 0)
    assert [len(rows) for rows in (data.splits.train, data.splits.query, data.splits.database)] == [20, 10, 50]
    assert "label names stand in" in command("datasets", "verify", "files/mine").out.replace("\n", " ")
    (folder / "texts.txt").write_text("".join(f"set a/im{n}.jpg\twords of {n}\n" for n in range(N)))
    Files.prepare("mine", folder)
    assert Files("mine").text(int(Files("mine").splits.query[3])) == "words of 3"
    assert Files("mine").notes() == []


def test_class_numbers_are_labels_too(folder):
    picture(folder / "a.jpg", 0)
    lists(folder, {"train": ["a.jpg 3"], "test": ["b.jpg 0 2"], "database": ["a.jpg 3"]})
    np.testing.assert_array_equal(read_exchange(folder).labels, [[0, 0, 0, 1], [1, 0, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"train": ["a 0 1"], "test": ["b 1"], "database": ["a 0 1"]}, "from 1 to 2 labels a line"),
        ({"train": ["a 0 1"], "test": ["b 1 0"], "database": ["a 1 1"]}, "gives 'a' other labels than before"),
        ({"train": ["a"], "test": ["b 1 0"], "database": ["a 1 1"]}, "line 1 of"),
        ({"train": ["0 1"], "test": ["b 1 0"], "database": ["a 1 1"]}, "is not a path and whole numbers"),
        ({"train": ["a 99999999"], "test": ["b 1"], "database": ["a 99999999"]}, "class numbers end at 99999"),
        ({"train": ["a 0 1"], "test": ["b 1 0"], "database": ["b 1 0", "a 0 1"]}, "1 of 1 query rows are also in"),
        ({"train": ["a 0 1"], "test": ["b 1 0"], "database": ["a 0 1", "a 0 1"]}, "names some row twice"),
        ({"train": ["../a 0 1"], "test": ["b 1 0"], "database": ["../a 0 1"]}, "no picture such as ../a"),
    ],
)
def test_lists_that_do_not_fit_are_refused(rows, said, folder):
    lists(folder, rows)
    assert said in refusal(folder)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))  # type: ignore[return-value]


def test_nothing_is_executed(folder, tmp_path):
    save(folder, "npy")
    (folder / "LAll.npy").write_bytes(pickle.dumps(Hostile()))
    assert "is no plain array" in refusal(folder)
    np.save(folder / "LAll.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    assert "it holds Python objects, which are never loaded" in refusal(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"LAll": np.array([["a", 1]], dtype=object)}, "no labels in the .mat and .npy files"),
        ({"LAll": np.array(["sky"] * N)}, "no labels in the .mat and .npy files"),
        ({"LAll": LABELS[:50]}, "have no number of rows in common: (50, 5), (60, 9), (60, 7)"),
        ({"LAll": LABELS * 3}, "labels hold other values than 0 and 1"),
        ({"LAll": np.where(LABELS, np.nan, 0.0)}, "labels hold other values than 0 and 1"),
        ({"LAll": np.ones((N, 2, 2))}, "labels must be (N, C), not (60, 2, 2)"),
        ({"IAll": np.full((N, 9), np.inf)}, "images hold values that are not finite"),
        ({"IAll": PIXELS.astype(float)}, "pictures must be uint8 (0 to 255), not float64"),
        ({"IAll": PIXELS[:, :, :2]}, "images must be (h, w, 3, N)"),
        ({"YAll": np.ones((N, 2, 2))}, "texts must be (N, dim), not (60, 2, 2)"),
        ({"tags": TAGS}, "holds texts that another file or variable holds too"),
    ],
)
@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_arrays_that_do_not_fit_are_refused(change, said, version, folder):
    arrays = TRIPLE | change
    strange = any(array.dtype.kind in "OU" for array in arrays.values())
    if version == "v5" or strange:
        savemat(folder / "all.mat", arrays)
    else:
        save_v73(folder / "all.mat", arrays)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["", "/../mine", "/.hidden", "/a b"])
def test_a_name_is_needed(name, sentence):
    assert "'files' needs a name of your choice after a slash" in sentence("datasets", "show", f"files{name}")


def test_what_to_type_is_said(sentence, folder):
    assert "type hashzoo datasets prepare files/mine --from FOLDER" in sentence("datasets", "show", "files/mine")
    assert "type hashzoo datasets prepare files/mine --from FOLDER" in sentence("datasets", "prepare", "files/mine")
    assert "no labels in the .mat and .npy files" in sentence("datasets", "prepare", "files/mine", "--from", folder)


@pytest.mark.skipif(
    not all(path.exists() for path in REAL), reason="the files of MIRFLICKR-25K are not on this machine"
)
def test_the_real_files_have_the_published_numbers(folder, command):
    for path in REAL:
        (folder / path.name).symlink_to(path)
    np.save(folder / "IAll.npy", np.zeros((20_015, 2), dtype=np.float32))  # its features are on no machine of ours
    Files.prepare("mirflickr25k", folder)
    data = Files("mirflickr25k")
    assert data.features["text"].shape == (20_015, 1_386)
    for name, rows in (("query", (0, 2_000)), ("train", (2_000, 12_000)), ("database", (2_000, 20_015))):
        np.testing.assert_array_equal(getattr(data.splits, name), np.arange(*rows))
    found = json.loads(command("datasets", "verify", "files/mirflickr25k", "--json").out)
    assert found["counts"] == {"train": 10_000, "val": 0, "query": 2_000, "database": 18_015, "labels": 24}
    relevant = data.labels[data.splits.query].astype(np.float32) @ data.labels[data.splits.database].T > 0
    assert relevant.mean() == pytest.approx(0.5385, abs=5e-5)
    # The expected AP of a random order is above the share of relevant rows, which it tends to with their number.
    assert 0 < found["floor"] - relevant.mean() < 5e-4
