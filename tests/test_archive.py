"""Archives of features: exported, used elsewhere, and refused where they do not belong or are not sound."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.encoders import archive
from hashzoo.encoders.archive import Archive, write_archive
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import cache_dir

SETTINGS = [part for setting in (*SMALL, "text.size=64") for part in ("--set", setting)]
CARD = {"encoder": "clip", "weights": "0123"}


@pytest.fixture
def exported(tiny, command) -> Path:
    done = command("features", "export", "--dataset", "scenes", "--encoders", "tiny+bow", "--out", "a", *SETTINGS)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "a: features of 100 rows of scenes",
        "image: 48 numbers each, float32, of tiny",
        "text: 64 numbers each, float32, of bow",
    ]
    return Path("a")


@pytest.fixture
def data():
    return open_dataset("scenes", parse_assignments(SMALL, []))


def bench(command, encoders, *more):
    asked = ("--method", "toy", "--bits", "8", "--dataset", "scenes", "--encoders", encoders, "--json")
    return command("bench", *asked, *more)


def test_an_archive_gives_the_scores_of_the_encoders_that_it_is_of(exported, command):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    first = json.loads(bench(command, "tiny+bow", *SETTINGS).out)
    moved = exported.rename("elsewhere")
    shutil.rmtree(os.environ["HASHZOO_CACHE"])  # on the other machine there is no cache
    second = json.loads(bench(command, f"archive:{moved}", *settings).out)
    assert [run["scores"] for run in second["results"]] == [run["scores"] for run in first["results"]]
    assert [run["reused"] for run in second["results"]] == [False, False]
    third = json.loads(bench(command, f"archive:{moved}", *settings).out)
    assert [run["reused"] for run in third["results"]] == [True, True]
    about = json.loads(next(Path("runs").glob("*/toy/archive*/run.json")).read_text())
    assert about["encoders"]["image"]["card"]["of"] == {"name": "tiny", "encoder": "tiny", "gain": 1.0}


def test_another_archive_in_the_same_place_is_not_answered_from_old_runs(exported, command, data):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    bench(command, "archive:a", *settings)
    features = {role: np.load(f"a/{role}.npy")[::-1].copy() for role in ("image", "text")}
    shutil.rmtree(exported)
    write_archive(exported, data, features, {"image": CARD, "text": CARD})
    again = json.loads(bench(command, "archive:a", *settings).out)
    assert [run["reused"] for run in again["results"]] == [False, False]


def test_an_imported_archive_is_found_by_its_name(exported, command, sentence, data):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    by_path = json.loads(bench(command, "archive:a", *settings).out)
    done = command("features", "import", "a", "--as", "clip-1")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "type --encoders archive:clip-1"
    assert json.loads(command("features", "import", "a", "--link", "--json").out)["name"] == "a"
    exported.rename("b")
    by_name = json.loads(bench(command, "archive:clip-1", *settings).out)
    assert [run["scores"] for run in by_name["results"]] == [run["scores"] for run in by_path["results"]]
    assert "no archive of features" in bench_error(sentence, "archive:a")  # the link leads nowhere

    assert command("features", "import", "b", "--as", "clip-1").code == 0  # it is there already
    features = {role: np.load(f"b/{role}.npy")[::-1].copy() for role in ("image", "text")}
    write_archive(Path("c"), data, features, {"image": CARD, "text": CARD})
    assert "another archive of that name" in sentence("features", "import", "c", "--as", "clip-1")
    shutil.rmtree(cache_dir() / "archives" / "clip-1")
    assert command("features", "import", "c", "--as", "clip-1").code == 0
    other = json.loads(bench(command, "archive:clip-1", *settings).out)
    assert [run["reused"] for run in other["results"]] == [False, False]


def test_what_is_not_sound_is_not_imported(exported, sentence):
    assert "no archive of features" in sentence("features", "import", "nowhere")
    assert "no name for an archive" in sentence("features", "import", "a", "--as", "../elsewhere")
    with open("a/text.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    assert "text.npy is not what" in sentence("features", "import", "a", code=1)
    assert not (cache_dir() / "archives").exists()


def test_one_encoder_exports_what_it_encodes(tiny, command, sentence):
    asked = ("features", "export", "--dataset", "scenes", *[p for s in SMALL for p in ("--set", s)])
    done = command(*asked, "--encoders", "tiny", "--out", "a", "--set", "image.stored=float16", "--json")
    manifest = json.loads(done.out)
    assert set(manifest["modalities"]) == {"image"}
    assert manifest["modalities"]["image"]["dtype"] == "float16"
    assert manifest["modalities"]["image"]["card"]["stored"] == "float16"
    assert "a exists already" in sentence(*asked, "--encoders", "tiny", "--out", "a")
    assert "archive:a+minilm" in bench_error(sentence, "archive:a")
    for more in ("paper", "tiny+bow,lite"):
        assert "one pair of encoders" in sentence(*asked, "--encoders", more, "--out", "b")
    assert "--batch-size takes auto" in sentence(*asked, "--encoders", "tiny", "--out", "b", "--batch-size", "many")
    assert "from 1 to" in sentence(*asked, "--encoders", "tiny", "--out", "b", "--batch-size", "0")
    assert "the device is auto" in sentence(*asked, "--encoders", "tiny", "--out", "b", "--device", "tpu")
    assert not Path("b").exists()


def bench_error(sentence, encoders):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return sentence("bench", "--method", "toy", "--bits", "8", "--dataset", "scenes", "--encoders", encoders, *settings)


def test_prompts_cannot_be_encoded_by_an_archive(exported, data):
    texts = Archive("a", modality="text")
    texts.open(data)
    with pytest.raises(HashzooError, match="nothing new can be encoded"):
        texts.prepare("a prompt")


def test_an_archive_of_other_data_is_refused(exported, command):
    for setting, said in (("dataset.pairs=101", "of 100 rows and 'scenes' has 101"), ("dataset.seed=1", "of another")):
        other = open_dataset("scenes", parse_assignments([*SMALL, setting], []))
        with pytest.raises(HashzooError, match=said):
            Archive("a", modality="image").open(other)


def damaged_manifest(change):
    manifest = json.loads(Path("a/manifest.json").read_text())
    change(manifest, manifest["modalities"]["image"])
    Path("a/manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest, part: manifest.update(rows="100"),
        lambda manifest, part: manifest.update(rows=True),
        lambda manifest, part: manifest.update(dataset=None),
        lambda manifest, part: manifest.update(modalities={}),
        lambda manifest, part: manifest["modalities"].update({"../image": part}),
        lambda manifest, part: part.update(shape=[100]),
        lambda manifest, part: part.update(shape=[99, 48]),
        lambda manifest, part: part.update(shape=[100, 10**9]),
        lambda manifest, part: part.update(shape=[100, 480]),
        lambda manifest, part: part.update(dtype="object"),
        lambda manifest, part: part.update(card=[]),
        lambda manifest, part: part.update(card={"gain": float("nan")}),
        lambda manifest, part: part.update(sha256=5),
        lambda manifest, part: part.pop("size"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(change, exported, sentence):
    damaged_manifest(change)
    assert re.search(r"a/manifest.json (is damaged|cannot be read)", sentence("features", "verify", "a", code=1))


def test_what_is_no_archive_is_refused(exported, sentence):
    assert "no manifest.json" in sentence("features", "verify", "nowhere")
    damaged_manifest(lambda manifest, part: manifest.update(schema=2))
    assert "schema 2" in sentence("features", "verify", "a")
    Path("a/manifest.json").write_text("[]")
    assert "is not of an archive" in sentence("features", "verify", "a")
    assert "needs a folder" in bench_error(sentence, "archive")


def agree(path: Path) -> None:
    """Make the manifest say what a file now is."""
    sound = {"size": path.stat().st_size, "sha256": archive.file_sha256(path)}
    damaged_manifest(lambda manifest, part: part.update(sound))


@pytest.mark.parametrize(
    "hostile", ["bit", "shorter", "missing", "pickle", "object", "type", "order", "link", "folder"]
)
def test_a_file_that_is_not_what_the_manifest_says_is_refused(hostile, exported, sentence):
    path = Path("a/image.npy")
    values = np.load(path)
    content = path.read_bytes()
    if hostile == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif hostile == "shorter":
        path.write_bytes(content[:-1])
    elif hostile == "missing":
        path.unlink()
    elif hostile == "pickle":
        path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR." + bytes(len(content)))
        agree(path)
    elif hostile == "object":
        np.save(path, np.full((100, 480), None), allow_pickle=True)
        agree(path)
    elif hostile == "type":
        np.save(path, values.view(np.int32))
        agree(path)
    elif hostile == "order":
        np.save(path, values.reshape(48, 100))
        agree(path)
    elif hostile == "link":
        path.rename("outside.npy")
        path.symlink_to(Path("outside.npy").resolve())
    else:
        path.unlink()
        path.mkdir()
    assert "a/image.npy is not what a/manifest.json says" in sentence("features", "verify", "a", code=1)
    assert not Path("pwned").exists()


def test_values_that_are_not_finite_are_refused(exported, sentence):
    values = np.load("a/image.npy")
    values[17, 3] = np.nan
    np.save("a/image.npy", values)
    agree(Path("a/image.npy"))
    assert "row 17 of a/image.npy holds a value that is not finite" in sentence("features", "verify", "a")


def test_what_cannot_be_an_archive_is_not_written(data):
    good = np.ones((100, 3), np.float16)
    for features, said in (
        ({}, "features and a card"),
        ({"sound": good}, "features and a card"),
        ({"image": good.astype(np.float64)}, "float32 or float16"),
        ({"image": good[:99]}, "float32 or float16"),
        ({"image": good[:, 0]}, "float32 or float16"),
        ({"image": good * np.float16("inf")}, "row 0 of the image features"),
    ):
        with pytest.raises(HashzooError, match=said):
            write_archive(Path("b"), data, features, dict.fromkeys(features, CARD))
    assert not Path("b").exists()
    Path("b").write_text("taken")
    with pytest.raises(HashzooError, match="exists already"):
        write_archive(Path("b"), data, {"image": good}, {"image": CARD})


def test_an_archive_that_was_killed_is_gone_on_with_and_nothing_else_is_written_over(data, monkeypatch):
    good = np.ones((100, 3), np.float16)

    def killed(path, array):
        write_array(path, array)
        (path.parent / ".text.npy.x.part").write_bytes(b"cut off")
        raise KeyboardInterrupt

    write_array, asked = archive.write_array, ({"image": good, "text": good}, {"image": CARD, "text": CARD})
    with monkeypatch.context() as patch:
        patch.setattr(archive, "write_array", killed)
        with pytest.raises(KeyboardInterrupt):
            write_archive(Path("b"), data, *asked)
    with pytest.raises(HashzooError, match="no archive"):
        Archive("b", modality="image")
    write_archive(Path("b"), data, *asked)
    assert sorted(path.name for path in Path("b").iterdir()) == ["image.npy", "manifest.json", "text.npy"]
    (Path("b") / "manifest.json").unlink()  # features that somebody else has put there
    with pytest.raises(HashzooError, match="exists already; give a new folder"):
        write_archive(Path("b"), data, *asked)


def test_what_an_encoder_prints_is_not_in_the_json(tiny, command, monkeypatch):
    write_array = archive.write_array
    monkeypatch.setattr(archive, "write_array", lambda *words: (print("loading weights"), write_array(*words)))
    asked = ("features", "export", "--dataset", "scenes", "--encoders", "bow", "--out", "a", *SETTINGS[:6], "--json")
    assert json.loads(command(*asked).out)["rows"] == 100


def test_random_weights_stay_marked(data):
    card = {"encoder": "clip", "weights": "random"}
    write_archive(Path("b"), data, {"image": np.ones((100, 3), np.float16)}, {"image": card})
    assert Archive("b", modality="image").card()["weights"] == "random"


def test_features_of_all_rows_belong_whatever_the_splits_are(exported, data):
    data.splits = replace(data.splits, train=data.splits.train[:10])
    assert Archive("a", modality="image").open(data).shape == (100, 48)
