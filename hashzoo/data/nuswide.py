"""`nuswide`: 269,648 Flickr photographs with tags and 81 concepts (Chua et al., CIVR 2009), by the 21 or 10 largest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hashzoo.data.archives import Source, listing, read_lines
from hashzoo.data.benchmarks import Benchmark, Pairs, Protocol
from hashzoo.errors import HashzooError

TC21 = (
    *("animal", "beach", "buildings", "clouds", "flowers", "grass", "lake", "mountain", "ocean", "person", "plants"),
    *("reflection", "road", "rocks", "sky", "snow", "sunset", "tree", "vehicle", "water", "window"),
)
EMPTY = "123456"  # what the code of DCHMT writes where a picture has no tag
LARGEST = 10
TC21_PROTOCOL = Protocol(
    pairs=195_834,
    labels=21,
    query=2_100,
    train=10_500,
    seed=7,
    rows="pictures with one of the 21 largest concepts, in the order of Imagelist.txt; texts are those of the 1,000 "
    "tags of TagList1k.txt",
    origin="counts of DCMH, AGAH and SCAHN, permutation of torchcmh; that its rows were in this order is inferred",
)
PROTOCOLS = {
    "tc21": TC21_PROTOCOL,
    "tc10": Protocol(
        pairs=186_577,
        labels=LARGEST,
        query=2_100,
        train=5_000,
        seed=7,
        rows="pictures with one of the 10 largest concepts, in the order of Imagelist.txt; texts are those of the "
        "1,000 tags of TagList1k.txt",
        origin="counts of UCCH and DJSRH; their rows are random and unknown to us, the permutation is ours",
    ),
    "mith": replace(
        TC21_PROTOCOL,
        pairs=190_421,
        seed=1,
        rows="pictures with one of the 21 largest concepts and one of the 1,000 tags of TagList1k.txt, in the order of "
        "Imagelist.txt; texts are those tags",
        origin="Liu et al. (MITH, ACM MM 2023); that their rows are in this order before the permutation is inferred",
    ),
    "dchmt": replace(
        TC21_PROTOCOL,
        query=5_000,
        train=10_000,
        seed=1814,
        rows="pictures with one of the 21 largest concepts, in the order of Imagelist.txt; texts are all tags, "
        f"'{EMPTY}' where there is none",
        origin="Tu et al. (DCHMT, ACM MM 2022), also DSPH, DNPH, DNpH, DHaPH",
    ),
}


class NusWide(Benchmark):
    """Photographs of Flickr with the tags of their owners, and labels by annotators.

    Files, below any folder, one line a picture in the same order: `Imagelist.txt` (`actor\\0001_2124494179.jpg`),
    `Labels_animal.txt` ... of the folder AllLabels (0 or 1), `AllTags1k.txt` (1,000 times 0 or 1) with the names of its
    columns in `TagList1k.txt`, and `All_Tags.txt` (a number and all tags; for dchmt alone). Pictures: a folder `Flickr`
    or `images`, with or without the subfolders of Imagelist.txt.

    Features, for the encoder `given`: the 1,000 tags, multi-hot. About one picture in 36 has none of them.
    """

    base = "nuswide"
    protocols = PROTOCOLS
    home = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
    archives = ("Groundtruth.zip", "NUS_WID_Tags.zip", "ImageList.zip", "Flickr.zip")
    terms = (
        "NUS-WIDE by Tat-Seng Chua, Jinhui Tang, Richang Hong, Haojie Li, Zhiping Luo and Yantao Zheng, National "
        "University of Singapore: 'NUS-WIDE: A Real-World Web Image Database from National University of Singapore', "
        "ACM CIVR 2009; for research. The pictures belong to the photographers on Flickr."
    )

    @classmethod
    def read(cls, files: Source, variant: str) -> Pairs:
        names = cls._names(files)
        labels = cls._labels(files, len(names))
        classes = np.arange(len(TC21))
        if variant == "tc10":
            classes = np.sort(np.argsort(-labels.sum(axis=0), kind="stable")[:LARGEST])
            labels = labels[:, classes]
        kept = labels.any(axis=1)
        features = {}
        if variant == "dchmt":
            texts = cls._raw_tags(files, len(names))
        else:
            tags, bags = cls._tags(files, len(names))
            if variant == "mith":
                kept &= bags.any(axis=1)
            features["text"] = bags[kept].astype(np.float16)
            texts = [" ".join(tags[column] for column in np.flatnonzero(bag)) for bag in bags]
        rows = np.flatnonzero(kept).tolist()
        root, images = cls._pictures(files, [names[row] for row in rows])
        classes_named = [TC21[column] for column in classes]
        return Pairs(classes_named, labels[rows], [texts[row] for row in rows], images, root, features)

    @classmethod
    def _names(cls, files: Source) -> list[str]:
        path = cls._file(files, "Imagelist.txt", "ImageList.txt")
        return [line.strip().replace("\\", "/") for line in read_lines(path) if line.strip()]

    @classmethod
    def _labels(cls, files: Source, rows: int) -> np.ndarray:
        folder = cls._file(files, f"Labels_{TC21[0]}.txt").parent
        labels = np.empty((rows, len(TC21)), dtype=bool)
        for column, name in enumerate(TC21):
            path = folder / f"Labels_{name}.txt"
            marks = [line.strip() for line in read_lines(path) if line.strip()]
            if len(marks) != rows or not {"0", "1"}.issuperset(marks):
                raise HashzooError(
                    f"{path} has {len(marks):,} lines where {rows:,} times 0 or 1 belong, a line for each of "
                    f"Imagelist.txt; get it anew"
                )
            labels[:, column] = np.array(marks) == "1"
        return labels

    @classmethod
    def _tags(cls, files: Source, rows: int) -> tuple[list[str], np.ndarray]:
        """The names of the 1,000 tags, and (rows, 1000) bool."""
        tags = [line.strip() for line in read_lines(cls._file(files, "TagList1k.txt")) if line.strip()]
        path = cls._file(files, "AllTags1k.txt")
        bags = np.zeros((rows, len(tags)), dtype=bool)
        row = 0
        try:
            with open(path, "rb") as lines:
                for line in lines:
                    marks = line.translate(None, b" \t\r\n")
                    if not marks:
                        continue
                    values = np.frombuffer(marks, dtype=np.uint8) - ord("0")
                    if row == rows or values.shape != (len(tags),) or values.max() > 1:
                        raise HashzooError(
                            f"line {row + 1} of {path} is not one of {rows:,} with {len(tags):,} times 0 or 1; "
                            f"get it anew"
                        )
                    bags[row] = values
                    row += 1
        except OSError as error:
            raise HashzooError(f"{path} cannot be read ({error.strerror or error}); get it anew") from error
        if row != rows:
            raise HashzooError(f"{path} has {row:,} lines where Imagelist.txt has {rows:,}; get it anew")
        return tags, bags

    @classmethod
    def _raw_tags(cls, files: Source, rows: int) -> list[str]:
        path = cls._file(files, "All_Tags.txt")
        texts = [" ".join(line.split()[1:]) or EMPTY for line in read_lines(path) if line.strip()]
        if len(texts) != rows:
            raise HashzooError(f"{path} has {len(texts):,} lines where Imagelist.txt has {rows:,}; get it anew")
        return texts

    @classmethod
    def _file(cls, files: Source, *names: str) -> Path:
        path = files.find(*names)
        if path is None:
            raise cls.missing(f"{names[0]} was")
        return path

    @classmethod
    def _pictures(cls, files: Source, names: list[str]) -> tuple[Path, list[str]]:
        """The folder of the pictures, and the path of each in it, "" for one that is not there."""
        root = files.find("Flickr", "images", "image", "Images") or files.path
        there = listing(root)
        flat = {path.rpartition("/")[2]: path for path in there}
        return root, [name if name in there else flat.get(name.rpartition("/")[2], "") for name in names]
