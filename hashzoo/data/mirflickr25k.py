"""`mirflickr25k`: 25,000 Flickr photographs with tags and 24 labels (Huiskes and Lew, MIR 2008)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hashzoo.data.archives import Source, read_lines
from hashzoo.data.benchmarks import Benchmark, Pairs, Protocol
from hashzoo.data.download import Remote
from hashzoo.errors import HashzooError

CLASSES = (
    *("animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake", "male"),
    *("night", "people", "plant_life", "portrait", "river", "sea", "sky", "structures", "sunset", "transport"),
    *("tree", "water"),
)
COMMON = 20  # pictures that a tag must occur in: 1,386 tags do
SITE = "https://press.liacs.nl/mirflickr/mirflickr25k.v3b"
REMOTES = (
    Remote(f"{SITE}/mirflickr25k_annotations_v080.zip", md5="aa0138c79892b1b670184d142380948f", size=207_220),
    Remote(f"{SITE}/mirflickr25k.zip", md5="a23d0a8564ee84cda5622a6c2f947785", size=3_069_184_257),
)
DCMH = Protocol(
    pairs=20_015,
    labels=24,
    query=2_000,
    train=10_000,
    seed=None,
    rows="pictures with a label and a tag that occurs in at least 20 pictures, by number; texts are those tags",
    origin="Jiang and Li (DCMH, CVPR 2017), as their TensorFlow code takes the rows of their file",
)
PROTOCOLS = {
    "dcmh": DCMH,
    "torchcmh": replace(
        DCMH, seed=6, origin="the permutation of torchcmh (Wang et al., SCAHN, 2020) on the rows of the file of DCMH"
    ),
    "ucch": replace(
        DCMH,
        train=5_000,
        origin="counts of Hu et al. (UCCH, TPAMI 2023), DJSRH and others; their rows are random and unknown to us, "
        "these are the first ones",
    ),
    "mith": replace(
        DCMH,
        seed=1,
        origin="Liu et al. (MITH, ACM MM 2023); that their rows are in this order before the permutation is inferred",
    ),
    "dchmt": Protocol(
        pairs=24_581,
        labels=24,
        query=5_000,
        train=10_000,
        seed=1814,
        rows="pictures with a label, in the order of their numbers as text (1, 10, 100, ...); texts are all tags",
        origin="Tu et al. (DCHMT, ACM MM 2022), also DSPH, DNPH, DNpH, DHaPH",
    ),
}


class Mirflickr25k(Benchmark):
    """Photographs of Flickr with the tags of their owners, and labels by annotators.

    Files, below any folder: `meta/tags/tags<N>.txt` (a tag a line) with `im<N>.jpg` two folders up or anywhere else in
    one folder, and `animals.txt` ... `water.txt` (a picture number a line; the stricter `*_r1.txt` are not used).
    `doc/common_tags.txt`, where it is there, lists the 1,386 tags; otherwise they are counted.

    Features, for the encoder `given`: the common tags of each picture, (N, 1386) multi-hot.
    """

    base = "mirflickr25k"
    protocols = PROTOCOLS
    home = "https://press.liacs.nl/mirflickr"
    archives = ("mirflickr25k.zip", "mirflickr25k_annotations_v080.zip")
    remotes = dict.fromkeys(PROTOCOLS, REMOTES)
    terms = (
        "MIRFLICKR-25000 by Mark Huiskes and Michael Lew, LIACS Media Lab, Leiden: 'The MIR Flickr Retrieval "
        "Evaluation', ACM MIR 2008 (https://press.liacs.nl/mirflickr). Every picture has a Creative Commons licence "
        "of its own, listed in meta/license; the photographers are to be named."
    )

    @classmethod
    def read(cls, files: Source, variant: str) -> Pairs:
        tag_folder = files.find("meta/tags")
        if tag_folder is None:
            raise cls.missing("the tags of the pictures, the folder meta/tags, were")
        marked = files.find("plant_life.txt")
        if marked is None:
            raise cls.missing("the labels, animals.txt to water.txt, were")
        tags = _tags(tag_folder)
        labels = _labels(marked.parent)
        common = _common_tags(tag_folder.parent.parent / "doc" / "common_tags.txt", tags)
        frequent = {number: [tag for tag in words if tag in common] for number, words in tags.items()}
        if variant == "dchmt":
            numbers = sorted(labels, key=str)
        else:
            numbers = [number for number in sorted(labels) if frequent.get(number)]
        words = tags if variant == "dchmt" else frequent
        marks = np.zeros((len(numbers), len(CLASSES)), dtype=bool)
        bags = np.zeros((len(numbers), len(common)), dtype=np.float16)
        for row, number in enumerate(numbers):
            marks[row, labels[number]] = True
            bags[row, [common[tag] for tag in frequent.get(number, ())]] = 1
        root, images = _pictures(files, tag_folder.parent.parent, numbers)
        return Pairs(
            CLASSES, marks, [" ".join(words.get(number, ())) for number in numbers], images, root, {"text": bags}
        )


def _tags(folder: Path) -> dict[int, list[str]]:
    """By picture number, its tags in the order of their file, each once."""
    found = {}
    for path in folder.iterdir():
        name = re.fullmatch(r"tags(\d+)\.txt", path.name)
        if name:
            found[int(name[1])] = list(dict.fromkeys(filter(None, map(str.strip, read_lines(path)))))
    return found


def _labels(folder: Path) -> dict[int, list[int]]:
    """By picture number, the columns of its labels; pictures without a label are left out."""
    found: dict[int, list[int]] = {}
    for column, name in enumerate(CLASSES):
        path = folder / f"{name}.txt"
        for line in filter(None, map(str.strip, read_lines(path))):
            if not re.fullmatch(r"\d{1,9}", line):
                raise HashzooError(f"{path} holds '{line[:40]}' where the number of a picture belongs; get it anew")
            found.setdefault(int(line), []).append(column)
    return found


def _common_tags(path: Path, tags: dict[int, list[str]]) -> dict[str, int]:
    """The columns of the tags that occur in at least `COMMON` pictures, the most frequent first."""
    if path.is_file():
        listed = [line.split()[0] for line in read_lines(path) if line.split()]
        return {tag: column for column, tag in enumerate(dict.fromkeys(listed))}
    counts = Counter(tag for words in tags.values() for tag in words)
    frequent = sorted((-count, tag) for tag, count in counts.items() if count >= COMMON)
    return {tag: column for column, (_, tag) in enumerate(frequent)}


def _pictures(files: Source, beside: Path, numbers: Sequence[int]) -> tuple[Path, list[str]]:
    """The folder of the pictures, and the file name of each, "" for one that is not there."""
    names = {entry.name for entry in beside.iterdir()}
    if not any(re.fullmatch(r"im\d+\.jpg", name) for name in names):
        found = next(filter(None, (files.find(f"im{number}.jpg") for number in numbers[:100])), None)
        beside = found.parent if found else beside
        names = {entry.name for entry in beside.iterdir()}
    return beside, [f"im{number}.jpg" if f"im{number}.jpg" in names else "" for number in numbers]
