"""`nuswide`, `coco` and `iaprtc12`: read from small copies in the formats of their sites, measured, trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archive_sets import coco, iaprtc12, nuswide, shrink
from helpers import Outcome

from hashzoo import zoo
from hashzoo.data import coco as coco_module
from hashzoo.data import iaprtc12 as iapr_module
from hashzoo.data import nuswide as nus_module
from hashzoo.data.benchmarks import Benchmark
from hashzoo.data.coco import Coco
from hashzoo.data.iaprtc12 import IaprTc12
from hashzoo.data.nuswide import TC21, NusWide
from hashzoo.errors import HashzooError

Command = Callable[..., Outcome]


@pytest.fixture
def nus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nus"
    nuswide(folder)
    marks = np.array(
        [(folder / f"Groundtruth/AllLabels/Labels_{name}.txt").read_text().split() for name in TC21], dtype=int
    ).T.astype(bool)
    ten = marks[:, np.argsort(-marks.sum(0), kind="stable")[:10]]
    tagged = np.array([n % 2 == 1 or n % 3 == 0 or n % 5 == 0 for n in range(60)])
    rows = {"tc21": marks.any(1).sum(), "tc10": ten.any(1).sum(), "mith": (marks.any(1) & tagged).sum()}
    shrink(monkeypatch, nus_module.PROTOCOLS, **{k: int(v) for k, v in rows.items()}, dchmt=int(rows["tc21"]))
    return folder


@pytest.fixture
def coco17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    coco(tmp_path / "coco", 2017)
    shrink(monkeypatch, coco_module.PROTOCOLS, dchmt=50, ucch=50)
    return tmp_path / "coco"


@pytest.fixture
def iapr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    iaprtc12(tmp_path / "iapr")
    shrink(monkeypatch, iapr_module.PROTOCOLS, dcmh=54, ucch=54)
    for name in ("dcmh", "ucch"):
        small = iapr_module.PROTOCOLS[name]
        monkeypatch.setitem(iapr_module.PROTOCOLS, name, type(small)(**{**vars(small), "labels": 8}))
    return tmp_path / "iapr"


def verified(command: Command, name: str) -> dict:
    outcome = command("datasets", "verify", name, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["problems"]) == (0, []), found
    assert found["protocol"] == name.partition("/")[2]
    return found


def trains(command: Command, name: str) -> None:
    outcome = command("bench", "--dataset", name, "--method", "toy", "--bits", 8, "--encoders", "tiny+bow", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    assert f"mAP on {name}" in outcome.out


def picture_of(data: Benchmark, row: int) -> str:
    assert data._images is not None
    return data._images[row]


def test_nuswide_end_to_end(nus, command, tiny):
    for variant in nus_module.PROTOCOLS:
        assert command("datasets", "prepare", f"nuswide/{variant}", "--from", nus).code == 0
    assert command("datasets", "verify", "nuswide", "--json").code == 0
    assert verified(command, "nuswide/tc10")["counts"]["labels"] == 10
    trains(command, "nuswide/tc21")
    whole, mith, raw = NusWide("tc21"), NusWide("mith"), NusWide("dchmt")
    assert whole.classes == TC21
    assert picture_of(whole, 0) == "actor/0000_1000.jpg"
    assert (whole.text(0), whole.text(1), raw.text(1)) == ("sky blue", "nature", "nature raw\u00e9")
    assert set(raw._texts or ()) >= {"123456"}
    assert any(not text for text in whole._texts or ())
    assert all(mith._texts or ())
    np.testing.assert_array_equal(whole.features["text"][0], [0, 1, 1, 0])
    order = np.random.RandomState(1814).permutation(len(raw))
    np.testing.assert_array_equal(raw.splits.query, order[: len(raw) // 5])


def test_nuswide_pictures_may_lie_in_one_folder_and_some_be_gone(nus, command):
    flat = nus / "images"
    flat.mkdir()
    for path in sorted((nus / "Flickr").rglob("*.jpg"))[3:]:
        path.rename(flat / path.name)
    (nus / "Flickr").rename(nus.parent / "aside")
    said = command("datasets", "prepare", "nuswide", "--from", nus).err
    assert "pictures are missing, and their rows left out; differs from the published numbers" in said
    assert picture_of(NusWide(), 0).count("/") == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("Groundtruth/AllLabels/Labels_sky.txt", "1\n0\n", "has 2 lines where 60 times 0 or 1 belong"),
        ("Groundtruth/AllLabels/Labels_sky.txt", "1\n" * 59 + "-1130179\n", "60 times 0 or 1 belong"),
        ("NUS_WID_Tags/AllTags1k.txt", "0 1 0 1\n" * 59, "has 59 lines where Imagelist.txt has 60"),
        ("NUS_WID_Tags/AllTags1k.txt", "0 1 0\n" * 60, "line 1 of"),
        ("NUS_WID_Tags/AllTags1k.txt", "0 1 0 7\n" * 60, "line 1 of"),
        ("NUS_WID_Tags/AllTags1k.txt", "0 1 0 1\n" * 61, "line 61 of"),
    ],
)
def test_nuswide_files_that_do_not_fit_are_named(name, content, said, nus, sentence):
    (nus / name).write_text(content)
    found = sentence("datasets", "prepare", "nuswide", "--from", nus)
    assert said in found
    assert name.rpartition("/")[2] in found


def test_coco_end_to_end(coco17, command, tiny):
    assert command("datasets", "prepare", "coco", "--from", coco17).code == 0
    verified(command, "coco/dchmt")
    trains(command, "coco/dchmt")
    data = Coco()
    labelled = {
        (part, annotation["image_id"])
        for part in ("train", "val")
        for annotation in json.loads((coco17 / f"annotations/instances_{part}2017.json").read_text())["annotations"]
    }
    ids = [(Path(picture_of(data, row)).parent.name[:-4], int(Path(picture_of(data, row)).stem)) for row in range(50)]
    assert ids == sorted(labelled)
    assert data.text(0).startswith(f"A \u2603 number {ids[0][1]}, seen ")
    assert len({text.split("seen")[1] for text in data._texts or ()}) > 2
    before = list(data._texts or ())
    Coco.prepare("dchmt", coco17)
    assert Coco()._texts == before
    assert data.labels.any(axis=1).all()
    assert data.classes[:2] == ("thing 0", "thing 1")


def test_coco_of_2014_is_another_protocol(tmp_path, monkeypatch, command):
    coco(tmp_path / "coco", 2014)
    shrink(monkeypatch, coco_module.PROTOCOLS, **{"2014": 50})
    assert command("datasets", "prepare", "coco/2014", "--from", tmp_path / "coco").code == 0
    assert "COCO_train2014_" in picture_of(Coco("2014"), 0)
    with pytest.raises(HashzooError, match="captions_train2017.json was not found"):
        Coco.prepare("dchmt", tmp_path / "coco")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no annotation file of COCO"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"images": [], "annotations": [1], "categories": []}', "is no annotation file of COCO"),
        (
            '{"images": [], "annotations": [{"image_id": 1, "category_id": 2}], "categories": []}',
            "is no annotation file of COCO (KeyError(2))",
        ),
    ],
)
def test_coco_files_that_do_not_fit_are_named(content, said, coco17, sentence):
    (coco17 / "annotations/instances_val2017.json").write_text(content)
    assert said in sentence("datasets", "prepare", "coco", "--from", coco17)


def test_iaprtc12_end_to_end(iapr, command, tiny):
    assert command("datasets", "prepare", "iaprtc12", "--from", iapr).code == 0
    verified(command, "iaprtc12/dcmh")
    trains(command, "iaprtc12/dcmh")
    data = IaprTc12()
    assert (len(data), len(data.classes)) == (54, 8)
    assert data.classes[0] == "concept-1"
    assert data.text(0) == "a caf\u00e9 & 0 trees; a blue sky;"
    assert [data.classes[column] for column in np.flatnonzero(data.labels[0])] == ["concept-1", "concept-200"]
    assert picture_of(data, 1) == "images/01/36.jpg"


def test_iaprtc12_files_that_do_not_fit_are_named(iapr, sentence):
    (iapr / "saiaprtc12ok/benchmark/saiapr_tc-12/00/labels.txt").write_text("25\t1\tsky\n")
    assert "holds '25\t1\tsky' where picture, region and concept belong".replace("\t", " ") in " ".join(
        sentence("datasets", "prepare", "iaprtc12", "--from", iapr).split()
    )
    (iapr / "saiaprtc12ok").rename(iapr.parent / "aside")
    assert "the labels, the folder saiapr_tc-12, were not found" in sentence(
        "datasets", "prepare", "iaprtc12", "--from", iapr
    )


def test_published_counts_are_those_of_the_papers():
    def counts(module: object) -> dict[str, tuple[int, ...]]:
        return {name: tuple(protocol.counts().values()) for name, protocol in module.PROTOCOLS.items()}  # type: ignore[attr-defined]

    assert counts(nus_module) == {
        "tc21": (195_834, 10_500, 2_100, 193_734, 21),
        "tc10": (186_577, 5_000, 2_100, 184_477, 10),
        "mith": (190_421, 10_500, 2_100, 188_321, 21),
        "dchmt": (195_834, 10_000, 5_000, 190_834, 21),
    }
    assert counts(coco_module) == {
        "dchmt": (122_218, 10_000, 5_000, 117_218, 80),
        "2014": (122_218, 10_000, 5_000, 117_218, 80),
        "ucch": (122_218, 5_000, 5_000, 117_218, 80),
    }
    assert counts(iapr_module)["dcmh"] == (20_000, 10_000, 2_000, 18_000, 255)


@pytest.mark.parametrize("name", ["mirflickr25k", "nuswide", "coco", "iaprtc12"])
def test_what_is_not_prepared_says_how(name, sentence):
    plugin, part = zoo.load().find("dataset", name)
    home = zoo.resolve_target(plugin, part.target).home
    said = sentence("bench", "--dataset", name, "--method", "random")
    assert f"type hashzoo datasets prepare {name}/" in said
    assert home in said
    if name in ("nuswide", "iaprtc12"):
        assert "is not downloaded by hashzoo" in sentence("datasets", "prepare", name)
