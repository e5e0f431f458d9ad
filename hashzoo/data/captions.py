"""Caption files of Flickr30k and its kind: several sentences a picture, and labels only where the user says whence.

results_20130124.token and Flickr8k.token.txt have lines `1000092795.jpg#0<tab>A man ...`; results.csv has
`1000092795.jpg| 0| A man ...`; the JSON files of Karpathy (dataset_flickr30k.json) have the splits as well. No labels
were ever published for them. They come from one of two files beside the captions:

labels.txt          `1000092795.jpg<tab>man<tab>dog`: a picture and its labels
label_words.txt     `dog: dog, dogs, puppy`: a label, and the words of which one stands in one of the picture's captions
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.data.archives import read_lines
from hashzoo.data.exchange import Exchange
from hashzoo.errors import HashzooError
from hashzoo.storage.files import read_json

FILES = re.compile(r".+\.token(\.txt)?|results\.csv|dataset_\w+\.json")
LABELS, WORDS = "labels.txt", "label_words.txt"
# One published line of results.csv lacks the bar before its caption.
NUMBERED = re.compile(r"(?P<name>[^#\t|]+)(?:#\d+\t|\|\s*\d+\s*\|?)(?P<caption>.*)")
HEADER = re.compile(r"image(_name)?\s*\|", re.IGNORECASE)
# Karpathy's: "restval" are the rows of COCO's val that are trained on.
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "query"}
BY_WORDS = (
    "labels are found in the captions by the words of {file}: the texts that retrieve hold the words that decide, so "
    "that these are no results on labelled data"
)


def find_captions(source: Path) -> Path | None:
    """The caption file in a folder, or `source` itself; None where there is none.

    Raises:
        HashzooError: there are several.
    """
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    found = [path for path in files if path.is_file() and FILES.fullmatch(path.name)]
    if len(found) > 1:
        told = " and ".join(path.name for path in found)
        raise HashzooError(f"{source} has {told}, which each hold captions; leave one of them in the folder")
    return found[0] if found else None


def read_captions(path: Path) -> Exchange:
    """Pictures with their captions, labels and, from Karpathy's files, splits. Pictures without a label are left out.

    Of his splits `test` are the queries, `val` is held out of training, and all but the queries is the database.

    Raises:
        HashzooError: a line or field is not as it should be, or nothing says what the labels are.
    """
    captions, parts = _from_json(path) if path.suffix == ".json" else (_from_lines(path), {})
    labels, classes, notes = _labels(path.parent, captions)
    kept = [name for name in captions if labels.get(name)]
    if not kept:
        raise HashzooError(f"no picture of {path} has a label; mend {LABELS} or {WORDS} beside it")
    if len(kept) < len(captions):
        notes.append(f"{len(captions) - len(kept):,} of {len(captions):,} pictures have no label and are left out")
    column = {name: place for place, name in enumerate(classes)}
    marks = np.zeros((len(kept), len(classes)), dtype=bool)
    for row, name in enumerate(kept):
        marks[row, [column[label] for label in labels[name]]] = True
    found = Exchange(marks, names=kept, captions=[captions[name] for name in kept], classes=classes, notes=notes)
    if parts:
        split = np.array([SPLITS[parts[name]] for name in kept])
        rows = {name: np.flatnonzero(split == name) for name in ("train", "val", "query")}
        found.splits = {**rows, "database": np.flatnonzero(split != "query")}
        found.rule = f"as {path.name} says: test are the queries, all others the database, val is held out of train"
    return found


def _from_lines(path: Path) -> dict[str, list[str]]:
    """The captions of each picture, in the order of the lines."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or (number == 1 and HEADER.match(line)):
            continue
        found = NUMBERED.fullmatch(line)
        if found is None:
            raise HashzooError(f"line {number} of {path} is not 'picture.jpg#0', a tab and a caption; mend it")
        name, caption = found.group("name", "caption")
        captions.setdefault(name.strip(), []).append(caption.strip())
    return captions


def _from_json(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The captions and the split of each picture."""
    captions, parts = {}, {}
    about = read_json(path)
    images: Any = about.get("images") if isinstance(about, dict) else None
    for number, image in enumerate(images if isinstance(images, list) else ()):
        try:
            name, sentences, part = image["filename"], [each["raw"] for each in image["sentences"]], image["split"]
            name = f"{image['filepath']}/{name}" if image.get("filepath") else name
            if part not in SPLITS or not isinstance(name, str) or not all(isinstance(each, str) for each in sentences):
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HashzooError(
                f"image {number} of {path} lacks a filename, sentences or a split ({', '.join(SPLITS)}); mend it"
            ) from error
        if name in captions:
            raise HashzooError(f"{path} has {name} twice; mend it")
        captions[name], parts[name] = sentences, part
    if not captions:
        raise HashzooError(f"{path} has no list 'images'; give a caption file such as dataset_flickr30k.json")
    return captions, parts


def _labels(folder: Path, captions: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """The labels of each picture, the classes in order, and what is to be said of them."""
    listed, words = folder / LABELS, folder / WORDS
    if listed.is_file() == words.is_file():
        raise HashzooError(
            f"captions bring no labels: put {LABELS} (picture, tab, label, tab, label) beside them, or {WORDS} "
            f"(label: word, word), which finds labels in captions; one of the two"
        )
    if listed.is_file():
        rows = [line.strip().split("\t") for line in read_lines(listed) if line.strip()]
        labels = {row[0].strip(): [label.strip() for label in row[1:] if label.strip()] for row in rows}
        return labels, sorted({label for name in captions for label in labels.get(name, ())}), []
    rules = {}
    for number, line in enumerate(read_lines(words), start=1):
        if not line.strip():
            continue
        label, colon, asked = line.partition(":")
        label = label.strip()
        meant = [" ".join(word.split()) for word in (asked if colon else label).split(",") if word.strip()]
        if not label or not meant or label in rules:
            raise HashzooError(f"line {number} of {words} is not a label of its own, a colon and words; mend it")
        rules[label] = re.compile(rf"\b(?:{'|'.join(map(re.escape, meant))})\b", re.IGNORECASE)
    found = {
        name: [label for label, rule in rules.items() if any(rule.search(each) for each in sentences)]
        for name, sentences in captions.items()
    }
    return found, list(rules), [BY_WORDS.format(file=WORDS)]
