"""`mirflickr25k`: its filters, orders and splits, from folders and archives in the format of its site."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from archive_sets import mirflickr, pack, shrink

from hashzoo.data import mirflickr25k
from hashzoo.data.download import Remote
from hashzoo.data.mirflickr25k import CLASSES, PROTOCOLS, Mirflickr25k
from hashzoo.errors import HashzooError

# Of the 60 pictures: with a label those that 3 does not divide, with a common tag those that neither 4 nor 5 divides.
LABELLED = [n for n in range(1, 61) if n % 3]
TAGGED = [n for n in LABELLED if n % 4 and n % 5]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(
        monkeypatch,
        PROTOCOLS,
        dcmh=len(TAGGED),
        torchcmh=len(TAGGED),
        ucch=len(TAGGED),
        mith=len(TAGGED),
        dchmt=len(LABELLED),
    )
    folder = tmp_path / "mirflickr25k"
    mirflickr(folder)
    return folder


def numbers(data: Mirflickr25k, rows: np.ndarray) -> list[int]:
    """The pictures of rows, by the file that stands for each."""
    assert data._images is not None
    return [int(Path(data._images[row]).stem.removeprefix("im")) for row in rows]


def test_dcmh_takes_rows_in_order(source, command):
    assert command("datasets", "prepare", "mirflickr25k", "--from", source).code == 0
    data = Mirflickr25k()
    assert (data.name, data.classes) == ("mirflickr25k/dcmh", CLASSES)
    query, train = len(TAGGED) // 5, len(TAGGED) // 2
    assert numbers(data, data.splits.query) == TAGGED[:query]
    assert numbers(data, data.splits.train) == TAGGED[query : query + train]
    assert numbers(data, data.splits.database) == TAGGED[query:]
    assert data.text(0) == "sky tag1"
    assert [CLASSES[column] for column in np.flatnonzero(data.labels[0])] == ["baby", "sky"]
    assert data.features["text"].shape == (len(TAGGED), 4)
    np.testing.assert_array_equal(data.features["text"][0], [1, 0, 1, 0])
    assert data.image(0).size == (8, 8)


def test_dchmt_takes_every_labelled_picture_by_name_and_permutes(source):
    Mirflickr25k.prepare("dchmt", source)
    data = Mirflickr25k("dchmt")
    order = np.random.RandomState(1814).permutation(len(LABELLED))
    by_name = sorted(LABELLED, key=str)
    query = len(LABELLED) // 5
    assert numbers(data, data.splits.query) == [by_name[row] for row in order[:query]]
    assert numbers(data, data.splits.database) == [by_name[row] for row in order[query:]]
    row = by_name.index(1)
    assert data.text(row) == "rare1 \u96ea\u5c71 sky tag1"
    assert data.text(by_name.index(5)) == ""


def test_published_counts_are_those_of_the_papers():
    counts = {variant: tuple(protocol.counts().values()) for variant, protocol in PROTOCOLS.items()}
    assert counts == {
        "dcmh": (20_015, 10_000, 2_000, 18_015, 24),
        "torchcmh": (20_015, 10_000, 2_000, 18_015, 24),
        "ucch": (20_015, 5_000, 2_000, 18_015, 24),
        "mith": (20_015, 10_000, 2_000, 18_015, 24),
        "dchmt": (24_581, 10_000, 5_000, 19_581, 24),
    }
    splits = PROTOCOLS["dcmh"].split(20_015)
    splits.check(20_015)
    assert [(part[0], part[-1]) for part in (splits.query, splits.train, splits.database)] == [
        (0, 1_999),
        (2_000, 11_999),
        (2_000, 20_014),
    ]


@pytest.mark.parametrize("variant", ["dcmh", "torchcmh", "ucch", "mith", "dchmt"])
def test_every_protocol_is_in_order_by_its_own_numbers(variant, source, command):
    name = f"mirflickr25k/{variant}"
    command("datasets", "prepare", name, "--from", source)
    outcome = command("datasets", "verify", name, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["ok"], found["problems"]) == (0, True, [])
    assert set(found) == {"dataset", "protocol", "ok", "counts", "floor", "digest", "problems", "notes"}
    assert (found["dataset"], found["protocol"]) == (name, variant)
    protocol = PROTOCOLS[variant].counts()
    assert found["counts"] == {"val": 0, **{key: protocol[key] for key in ("train", "query", "database", "labels")}}
    assert any("no query row has the label" in note for note in found["notes"])


def test_counts_that_differ_are_a_problem(source, command, monkeypatch):
    (source / "annotations/sky.txt").write_text("1\n2\n")
    Mirflickr25k.prepare("dcmh", source)
    assert command("datasets", "verify", "mirflickr25k").code == 0
    shrink(monkeypatch, PROTOCOLS, dcmh=30)
    outcome = command("datasets", "verify", "mirflickr25k", "--json")
    (problem,) = json.loads(outcome.out)["problems"]
    assert outcome.code == 1
    assert problem.startswith(f"differs from the published numbers: {len(TAGGED)} pairs where 30 belong")


def test_missing_pictures_are_counted_and_change_no_other_row(source, command):
    Mirflickr25k.prepare("mith", source)
    whole = Mirflickr25k("mith")
    before = {name: numbers(whole, getattr(whole.splits, name)) for name in ("query", "train", "database")}
    gone = [before["query"][0], before["train"][1]]
    for number in gone:
        (source / f"mirflickr/im{number}.jpg").unlink()
    said = command("datasets", "prepare", "mirflickr25k/mith", "--from", source)
    assert "2 pictures are missing, and their rows left out; differs from the published numbers" in said.err
    part = Mirflickr25k("mith")
    for name, rows in before.items():
        assert numbers(part, getattr(part.splits, name)) == [number for number in rows if number not in gone]
    found = json.loads(command("datasets", "verify", "mirflickr25k/mith", "--json").out)
    assert found["ok"]
    assert "2 pictures are missing" in found["notes"][0]


def test_archives_are_as_good_as_folders(source, tmp_path, command):
    Mirflickr25k.prepare("dcmh", source)
    digest = json.loads(command("datasets", "verify", "mirflickr25k", "--json").out)["digest"]
    packed = tmp_path / "packed"
    packed.mkdir()
    pack(source, packed / "mirflickr25k.zip", "mirflickr")
    pack(source, packed / "mirflickr25k_annotations_v080.zip", "annotations")
    assert command("datasets", "prepare", "mirflickr25k", "--from", packed).code == 0
    assert json.loads(command("datasets", "verify", "mirflickr25k", "--json").out)["digest"] == digest
    # What was unpacked stays for the other protocols.
    assert command("datasets", "prepare", "mirflickr25k/dchmt", "--from", packed / "mirflickr25k.zip").code == 0


def test_common_tags_are_counted_where_no_list_is(source, monkeypatch):
    (source / "mirflickr/doc/common_tags.txt").unlink()
    monkeypatch.setattr(mirflickr25k, "COMMON", 12)
    Mirflickr25k.prepare("dcmh", source)
    data = Mirflickr25k()
    assert data.text(0) == "\u96ea\u5c71 sky tag1"
    assert data.features["text"].shape[1] == 5


def test_methods_train_on_it(source, command, tiny):
    Mirflickr25k.prepare("dcmh", source)
    outcome = command(
        *("bench", "--dataset", "mirflickr25k", "--method", "toy", "--bits", 8, "--encoders", "tiny+given", "--jobs", 1)
    )
    assert outcome.code == 0, outcome.err
    assert "mAP on mirflickr25k/dcmh" in outcome.out


def test_it_is_downloaded_where_nothing_is_given(source, tmp_path, monkeypatch, command):
    site = tmp_path / "site"
    site.mkdir()
    pack(source, site / "mirflickr25k.zip", "mirflickr")
    pack(source, site / "annotations.zip", "annotations")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        address = f"http://127.0.0.1:{server.server_port}"
        pinned = tuple(
            Remote(f"{address}/{path.name}", md5=hashlib.md5(path.read_bytes()).hexdigest())
            for path in sorted(site.iterdir())
        )
        monkeypatch.setattr(Mirflickr25k, "remotes", dict.fromkeys(PROTOCOLS, pinned))
        said = command("datasets", "prepare", "mirflickr25k")
        server.shutdown()
    assert said.code == 0, said.err
    assert len(Mirflickr25k()) == len(TAGGED)
    # What is unpacked is not kept packed too, and serves the other protocols without the site.
    assert not list((tmp_path / "cache").rglob("*.zip"))
    assert command("datasets", "prepare", "mirflickr25k/dchmt").code == 0


def test_the_same_picture_on_both_sides_is_said_without_decoding(source, command):
    for number in (TAGGED[0], TAGGED[-1], TAGGED[-2]):
        (source / f"mirflickr/im{number}.jpg").write_bytes(b"no picture at all")
    Mirflickr25k.prepare("dcmh", source)
    found = json.loads(command("datasets", "verify", "mirflickr25k", "--json").out)
    assert any(note.startswith("2 pictures stand among queries and in the database") for note in found["notes"])


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ("mirflickr/meta", "the tags of the pictures, the folder meta/tags, were not found; give a folder that holds"),
        ("annotations", "the labels, animals.txt to water.txt, were not found"),
        ("annotations/tree.txt", "tree.txt cannot be read (No such file or directory)"),
    ],
)
def test_what_is_missing_is_named(remove, said, source, sentence):
    (source / remove).rename(source.parent / "aside")
    assert said in sentence("datasets", "prepare", "mirflickr25k", "--from", source)


def test_foreign_files_are_refused(source, sentence):
    (source / "annotations/tree.txt").write_text("1\ntree\n")
    assert "tree.txt holds 'tree' where the number of a picture belongs" in sentence(
        "datasets", "prepare", "mirflickr25k", "--from", source
    )


def test_without_pictures_there_is_nothing(source):
    for path in source.glob("mirflickr/*.jpg"):
        path.unlink()
    with pytest.raises(HashzooError, match="none of the .* pictures is below"):
        Mirflickr25k.prepare("dcmh", source)


def test_what_to_type_is_said(sentence):
    said = sentence("bench", "--dataset", "mirflickr25k", "--method", "random")
    assert "type hashzoo datasets prepare mirflickr25k/dcmh, which downloads it, or" in said
    assert "there is no data set 'mirflickr25k/dcnh'; did you mean dcmh?" in sentence(
        "datasets", "show", "mirflickr25k/dcnh"
    )
