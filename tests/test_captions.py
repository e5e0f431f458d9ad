"""Caption files of Flickr30k's kind: read as they are published, labelled by the user alone, refused in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from archive_sets import picture

from hashzoo.data.captions import read_captions
from hashzoo.data.files import Files

NAMES = [f"{n:08d}.jpg" for n in range(40)]
THINGS = ("dog", "puppy", "sea", "house")
CAPTIONS = {name: [f"A {THINGS[n % 4]} on day {n} .", "Hot dog-days"] for n, name in enumerate(NAMES)}
CAPTIONS[NAMES[3]][1] = "The DOGS"
WORDS = "dog: dog, dogs ,puppy\nwater: sea,  salt   water\n\nhouse\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, name in enumerate(NAMES):
        picture(tmp_path / "given" / "flickr30k_images" / name, n)
    return tmp_path / "given"


def write(folder: Path, kind: str) -> None:
    lines = [(name, n, caption) for name, captions in CAPTIONS.items() for n, caption in enumerate(captions)]
    if kind == "token":
        (folder / "results_20130124.token").write_text("".join(f"{name}#{n}\t{text}\n" for name, n, text in lines))
    elif kind == "csv":
        bars = ["| " if n else "" for n in range(len(lines))]  # one is missing, as in the published file
        text = "".join(f"{name}| {n} {bar}{text}\n" for (name, n, text), bar in zip(lines, bars, strict=True))
        (folder / "results.csv").write_text(f"image_name| comment_number| comment\n{text}")
    else:
        parts = ["train"] * 25 + ["val"] * 5 + ["test"] * 10
        images = [
            {"filename": name, "split": part, "sentences": [{"raw": text, "tokens": []} for text in CAPTIONS[name]]}
            for name, part in zip(NAMES, parts, strict=True)
        ]
        (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))


@pytest.mark.parametrize("kind", ["token", "csv", "json"])
def test_the_published_files_are_read_and_labelled_by_the_rule_of_the_user(folder, kind, command):
    write(folder, kind)
    (folder / "label_words.txt").write_text(WORDS)
    said = command("datasets", "prepare", "files/flickr", "--from", folder)
    assert said.code == 0, said.err
    assert "labels are found in the captions" in said.err
    data = Files("flickr")
    assert data.classes == ("dog", "water", "house")
    # "dog-days" holds the whole word dog.
    assert data.labels[:4].astype(int).tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert data.text(2) == "A sea on day 2 ."
    found = json.loads(command("datasets", "verify", "files/flickr", "--json").out)
    assert any("labels are found in the captions" in note for note in found["notes"])
    sizes = {name: found["counts"][name] for name in ("train", "val", "query", "database")}
    if kind == "json":
        assert sizes == {"train": 25, "val": 5, "query": 10, "database": 30}
        assert data.splits.query.tolist() == list(range(30, 40))
        assert "test are the queries" in data.splits.rule
    else:
        assert sizes == {"train": 20, "val": 0, "query": 4, "database": 36}


def test_labels_from_a_file_and_pictures_without_one(folder, command):
    write(folder, "token")
    labelled = NAMES[5:]
    (folder / "labels.txt").write_text(
        "".join(f"{name}\tb{n % 2}\ta\n" for n, name in enumerate(labelled)) + "x.jpg\tc\n"
    )
    said = command("datasets", "prepare", "files/flickr", "--from", folder / "results_20130124.token")
    assert said.code == 0, said.err
    assert "5 of 40 pictures have no label and are left out" in said.err
    data = Files("flickr")
    assert data.classes == ("a", "b0", "b1")
    assert data.labels.sum(axis=0).tolist() == [35, 18, 17]
    assert data.text(0) == CAPTIONS[NAMES[5]][0]


IMAGE = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.token": "a.jpg#0\ta dog\n"}, "captions bring no labels"),
        ({"a.token": "a.jpg#0\ta dog\n", "labels.txt": "", "label_words.txt": "dog\n"}, "one of the two"),
        ({"a.token": "a.jpg#0\ta dog\n", "label_words.txt": "cat\n"}, "no picture of .* has a label"),
        (
            {"a.token": "a.jpg#0\ta dog\n", "label_words.txt": "dog\ndog: puppy\n"},
            "line 2 of .* is not a label of its own",
        ),
        ({"a.token": "a.jpg#0\ta dog\n", "label_words.txt": "dog: ,\n"}, "line 1 of .* is not a label"),
        ({"a.token": "a.jpg#0\ta dog\na.jpg a cat\n", "label_words.txt": "dog\n"}, "line 2 of .*a.token is not"),
        ({"a.token": "", "results.csv": "", "label_words.txt": "dog\n"}, "leave one of them"),
        ({"dataset_a.json": "{", "label_words.txt": "dog\n"}, "cannot be read as JSON"),
        ({"dataset_a.json": "[]", "label_words.txt": "dog\n"}, "no list 'images'"),
        ({"dataset_a.json": json.dumps({"images": [IMAGE | {"split": "trial"}]})}, "image 0 of .* lacks"),
        ({"dataset_a.json": json.dumps({"images": [IMAGE | {"sentences": 3}]})}, "image 0 of .* lacks"),
        ({"dataset_a.json": json.dumps({"images": [IMAGE, IMAGE]})}, "has a.jpg twice"),
    ],
)
def test_what_is_not_as_it_should_be_is_refused(tmp_path, files, said, command):
    folder = tmp_path / "given"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    refused = command("datasets", "prepare", "files/mine", "--from", folder)
    assert refused.code in (1, 2)
    (line,) = [line for line in refused.err.splitlines() if line.startswith("hashzoo: ")]
    assert re.search(said, line), line


def test_pictures_in_the_folders_that_the_json_names(tmp_path):
    about = {"images": [IMAGE | {"filepath": "val2014"}, IMAGE | {"filepath": "train2014", "split": "restval"}]}
    (tmp_path / "dataset_coco.json").write_text(json.dumps(about))
    (tmp_path / "label_words.txt").write_text("dog\n")
    found = read_captions(tmp_path / "dataset_coco.json")
    assert found.names == ["val2014/a.jpg", "train2014/a.jpg"]
    assert found.splits["train"].tolist() == [0, 1]
