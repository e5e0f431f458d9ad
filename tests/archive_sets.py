"""Small copies of the published data sets in the format of their sites, with its quirks.

`shrink` replaces the published counts of a data set by those of its small copy: the seam that `Benchmark` documents.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashzoo.data.benchmarks import Protocol


def shrink(monkeypatch: pytest.MonkeyPatch, protocols: dict[str, Protocol], **pairs: int) -> None:
    """Make each named protocol one of `pairs` rows, a fifth of them queries and half training rows."""
    for variant, rows in pairs.items():
        small = replace(protocols[variant], pairs=rows, query=rows // 5, train=rows // 2)
        monkeypatch.setitem(protocols, variant, small)


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, shade * 7 % 256, shade * 31 % 256)).save(path, "JPEG")


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def pack(folder: Path, archive: Path, *names: str) -> None:
    """Zip some subfolders of a folder."""
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            for path in sorted((folder / name).rglob("*")):
                file.write(path, path.relative_to(folder))


def mirflickr(folder: Path, pictures: int = 60) -> None:
    """Every third picture has no label, every fourth no common tag; both line ends; tags of other alphabets."""
    from hashzoo.data.mirflickr25k import CLASSES

    members: dict[str, list[int]] = {name: [] for name in CLASSES}
    for number in range(1, pictures + 1):
        picture(folder / f"mirflickr/im{number}.jpg", number)
        tags = [f"rare{number}", "\u96ea\u5c71"]
        if number % 4:
            tags += ["sky", f"tag{number % 3}", "sky"]
        end = "\r\n" if number % 2 else "\n"
        text(folder / f"mirflickr/meta/tags/tags{number}.txt", "".join(tag + end for tag in tags if number % 5))
        if number % 3:
            members[CLASSES[number % 24]].append(number)
            members["sky"].append(number)
    for name, numbers in members.items():
        text(folder / f"annotations/{name}.txt", "".join(f"{number}\r\n" for number in sorted(set(numbers))))
    text(folder / "annotations/sky_r1.txt", "1\r\n")
    text(folder / "annotations/README.txt", "not a label\r\n")
    text(folder / "mirflickr/doc/common_tags.txt", "sky 45\r\ntag0 20\r\ntag1 20\r\ntag2 20\r\n")


def nuswide(folder: Path, pictures: int = 60) -> None:
    """Windows paths, empty tag lists, tags of other alphabets, an empty last line, 24 concepts of which 21 count."""
    from hashzoo.data.nuswide import TC21

    names = [f"actor\\{n % 7:04d}_{1000 + n}.jpg" for n in range(pictures)]
    text(folder / "ImageList/Imagelist.txt", "".join(f"{name} \r\n" for name in names))
    noise = np.random.default_rng(0)
    for column, name in enumerate((*TC21, "zebra", "whales", "toy")):
        # Earlier concepts are more frequent; every tenth picture has none of the 21.
        marks = (noise.random(pictures) < 0.6 - 0.025 * column) & (np.arange(pictures) % 10 != 9)
        text(folder / f"Groundtruth/AllLabels/Labels_{name}.txt", "".join(f"{int(mark)}\n" for mark in marks))
        text(folder / f"Groundtruth/TrainTestLabels/Labels_{name}_Train.txt", "0\n")
    tags = ["nature", "sky", "blue", "\u81ea\u7136"]
    bags = np.array([[n % 2, n % 3 == 0, n % 5 == 0, 0] for n in range(pictures)], dtype=int)
    text(folder / "NUS_WID_Tags/TagList1k.txt", "".join(f"{tag}\r\n" for tag in tags))
    text(folder / "NUS_WID_Tags/AllTags1k.txt", "".join("\t".join(map(str, bag)) + "\t\r\n" for bag in bags.tolist()))
    lines = [
        f"{1000 + n}      " + " ".join([*(tags[i] for i in np.flatnonzero(bags[n])), *(["raw\u00e9"] if n % 4 else [])])
        for n in range(pictures)
    ]
    text(folder / "NUS_WID_Tags/All_Tags.txt", "".join(f"{line}\r\n" for line in lines))
    for n, name in enumerate(names):
        picture(folder / "Flickr" / name.replace("\\", "/"), n)


def coco(folder: Path, year: int, pictures: Mapping[str, int] | None = None) -> None:
    """Ids out of order, pictures without labels, five or six captions each, category numbers with holes."""
    categories = [{"id": 3 * n + 1, "name": f"thing {n}", "supercategory": "thing"} for n in range(80)]
    number = 0
    for part, count in (pictures or {"train": 50, "val": 10}).items():
        images, captions, instances = [], [], []
        for _ in range(count):
            number += 1
            id_ = number * 37 % 1009
            prefix = f"COCO_{part}2014_" if year == 2014 else ""
            name = f"{prefix}{id_:012d}.jpg"
            images.append({"id": id_, "file_name": name, "width": 8, "height": 8})
            picture(folder / f"{part}{year}/{name}", id_)
            captions += [
                {"image_id": id_, "id": 10 * id_ + n, "caption": f"A \u2603 number {id_},\nseen {n} times. "}
                for n in range(5 + number % 2)
            ]
            if number % 6:
                instances += [
                    {"image_id": id_, "id": 100 * number + n, "category_id": 3 * c + 1, "bbox": [0, 0, 1, 1]}
                    for n, c in enumerate({number % 80, number % 7, number % 3})
                ]
        for kind, found in (("captions", captions), ("instances", instances)):
            content = {"info": {}, "images": images, "annotations": found}
            if kind == "instances":
                content["categories"] = categories
            text(folder / f"annotations/{kind}_{part}{year}.json", json.dumps(content))


def iaprtc12(folder: Path, pictures: int = 60) -> None:
    """Annotations in Latin-1 with entities, labels with trailing spaces and regions repeated, some without a label."""
    words = [f"{n}\tconcept-{n}\r\n" for n in range(1, 277)]
    text(folder / "saiaprtc12ok/benchmark/wlist.txt", "".join(words))
    lines: dict[str, list[str]] = {}
    for n in range(pictures):
        number, part = 25 + 11 * n, f"{n % 3:02d}"
        picture(folder / f"iaprtc12/images/{part}/{number}.jpg", n)
        text(
            folder / f"iaprtc12/annotations_complete_eng/{part}/{number}.eng",
            f"<DOC>\r\n<DOCNO>annotations/{part}/{number}.eng</DOCNO>\r\n<TITLE>Caf\u00e9</TITLE>\r\n"
            f"<DESCRIPTION>a caf\u00e9 &amp; {n} trees;\r\n a blue sky;</DESCRIPTION>\r\n<NOTES></NOTES>\r\n"
            f"<IMAGE>images/{part}/{number}.jpg</IMAGE>\r\n</DOC>\r\n",
            "latin-1",
        )
        if n % 10 != 9:
            lines.setdefault(part, []).extend(
                f"{number}\t{region}\t{label}  \r\n"
                for region, label in enumerate((1 + n % 5, 200 + n % 3, 1 + n % 5), 1)
            )
    for part, rows in lines.items():
        text(folder / f"saiaprtc12ok/benchmark/saiapr_tc-12/{part}/labels.txt", "".join(rows))
