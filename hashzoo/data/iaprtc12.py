"""`iaprtc12`: 20,000 photographs with descriptions (IAPR TC-12) and regions of 255 concepts (SAIAPR TC-12)."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np

from hashzoo.data.archives import Source, listing, read_lines
from hashzoo.data.benchmarks import Benchmark, Pairs, Protocol
from hashzoo.errors import HashzooError

ENCODING = "cp1252"  # the annotations are Latin-1, with typographic quotes here and there
PROTOCOLS = {
    "dcmh": Protocol(
        pairs=20_000,
        labels=255,
        query=2_000,
        train=10_000,
        seed=8,
        rows="pictures with an English description and a labelled region, by number; texts are the descriptions",
        origin="counts of DCMH and SCAHN, permutation of torchcmh; that its rows were in this order is inferred",
    ),
    "ucch": Protocol(
        pairs=20_000,
        labels=255,
        query=2_000,
        train=5_000,
        seed=8,
        rows="pictures with an English description and a labelled region, by number; texts are the descriptions",
        origin="counts of UCCH; its rows are unknown to us, the permutation is that of torchcmh",
    ),
}


class IaprTc12(Benchmark):
    """Photographs of travels with English descriptions, and the concepts of their regions as labels.

    Files, below any folder: `annotations_complete_eng/NN/N.eng` (tagged text, Latin-1) and `images/NN/N.jpg` of
    iaprtc12.tgz; `saiapr_tc-12/NN/labels.txt` (picture, region, concept) of saiaprtc12ok.tgz, with the names of the
    concepts in `wlist.txt`, where it is there. Labels are the concepts that occur.
    """

    base = "iaprtc12"
    protocols = PROTOCOLS
    home = "https://www.imageclef.org/photodata and https://www.imageclef.org/SIAPRdata"
    archives = ("iaprtc12.tgz", "saiaprtc12ok.tgz")
    terms = (
        "IAPR TC-12 by Michael Grubinger, Paul Clough, Henning Mueller and Thomas Deselaers (OntoImage 2006), with the "
        "segmentation SAIAPR TC-12 by Hugo Jair Escalante et al. (Computer Vision and Image Understanding 2010); free "
        "of copyright restrictions for research (https://www.imageclef.org/photodata)."
    )

    @classmethod
    def read(cls, files: Source, variant: str) -> Pairs:
        described = files.find("annotations_complete_eng")
        if described is None:
            raise cls.missing("the descriptions, the folder annotations_complete_eng, were")
        segmented = files.find("saiapr_tc-12")
        if segmented is None:
            raise cls.missing("the labels, the folder saiapr_tc-12, were")
        concepts = _regions(segmented)
        descriptions = {int(path.stem): path for path in described.rglob("*.eng") if path.stem.isdecimal()}
        numbers = sorted(concepts.keys() & descriptions.keys())
        used = sorted(set().union(*(concepts[number] for number in numbers)))
        column = {concept: n for n, concept in enumerate(used)}
        labels = np.zeros((len(numbers), len(used)), dtype=bool)
        for row, number in enumerate(numbers):
            labels[row, [column[concept] for concept in concepts[number]]] = True
        names = _names(files.find("wlist.txt"))
        root = described.parent
        there = listing(root / "images")
        paths = {int(stem): f"images/{path}" for path in there if (stem := Path(path).stem).isdecimal()}
        return Pairs(
            [names.get(concept, f"concept {concept}") for concept in used],
            labels,
            [_description(descriptions[number]) for number in numbers],
            [paths.get(number, "") for number in numbers],
            root,
        )


def _regions(folder: Path) -> dict[int, set[int]]:
    """By picture number, the concepts of its regions."""
    found: dict[int, set[int]] = {}
    for path in sorted(folder.rglob("labels.txt")):
        for line in read_lines(path):
            fields = line.split()
            if not fields:
                continue
            if len(fields) < 3 or not all(field.isdecimal() for field in fields[:3]):
                raise HashzooError(f"{path} holds '{line[:40]}' where picture, region and concept belong; get it anew")
            found.setdefault(int(fields[0]), set()).add(int(fields[2]))
    return found


def _names(path: Path | None) -> dict[int, str]:
    """Concept names by number; a name that stands twice is told apart by its number."""
    found: dict[int, str] = {}
    for line in read_lines(path) if path else ():
        number, _, name = line.strip().partition("\t")
        if number.isdecimal() and name.strip():
            name = name.strip()
            found[int(number)] = f"{name} {number}" if name in found.values() else name
    return found


def _description(path: Path) -> str:
    """What stands between the tags DESCRIPTION: the file is no well-formed XML, so that no parser of it is used."""
    content = "\n".join(read_lines(path, ENCODING))
    found = re.search(r"<DESCRIPTION>(.*?)</DESCRIPTION>", content, re.DOTALL)
    return " ".join(html.unescape(found[1]).split()) if found else ""
