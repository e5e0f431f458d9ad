"""`coco`: Microsoft COCO, 123,287 photographs with five captions each and objects of 80 categories (ECCV 2014)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hashzoo.data.archives import Source
from hashzoo.data.benchmarks import Benchmark, Pairs, Protocol, common_root
from hashzoo.data.download import Remote
from hashzoo.errors import HashzooError

SITE = "http://images.cocodataset.org"
CAPTION_SEED = 1814
DCHMT = Protocol(
    pairs=122_218,
    labels=80,
    query=5_000,
    train=10_000,
    seed=1814,
    rows="pictures of train2017, then of val2017, with an object, by number; texts are a caption each, drawn once",
    origin="Tu et al. (DCHMT, ACM MM 2022), also DSPH, DNPH, DNpH; they draw another caption each time a row is read",
)
PROTOCOLS = {
    "dchmt": DCHMT,
    "2014": replace(
        DCHMT,
        rows="pictures of train2014, then of val2014, with an object, by number; texts are a caption each, drawn once",
        origin="the same pictures and counts as dchmt from the files of 2014, and so other rows in each split; ours",
    ),
    "ucch": replace(
        DCHMT,
        train=5_000,
        origin="counts of UCCH; its rows are unknown to us, these are those of DCHMT; its texts are Doc2Vec features",
    ),
}
MD5 = {
    "annotations/annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
    "annotations/annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
    "zips/val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
    "zips/train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "zips/val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    "zips/train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
}


@dataclass(frozen=True)
class Picture:
    """A picture with an object: its path, its captions in file order, the columns of its categories."""

    path: str
    captions: list[str]
    columns: list[int]


class Coco(Benchmark):
    """Everyday scenes with captions by five people, and the categories of their objects as labels.

    Files, below any folder: `annotations/captions_train2017.json`, `annotations/instances_train2017.json`, the same two
    of val2017, and the folders `train2017` and `val2017` (for the protocol 2014: of 2014).
    """

    base = "coco"
    protocols = PROTOCOLS
    home = "https://cocodataset.org"
    archives = tuple(path.rpartition("/")[2] for path in MD5)
    remotes = {  # noqa: RUF012 - as the base class has it
        variant: tuple(
            Remote(f"{SITE}/{path}", md5=md5) for path, md5 in MD5.items() if ("2014" in path) == (variant == "2014")
        )
        for variant in ("dchmt", "2014", "ucch")
    }
    terms = (
        "Microsoft COCO by Tsung-Yi Lin et al.: 'Common Objects in Context', ECCV 2014 (https://cocodataset.org). "
        "Annotations: CC BY 4.0. Pictures: the terms of Flickr, a licence for each in the annotations."
    )

    @classmethod
    def read(cls, files: Source, variant: str) -> Pairs:
        year = "2014" if variant == "2014" else "2017"
        parts = [cls._part(files, f"{part}{year}") for part in ("train", "val")]
        (classes, _), root = parts[0][0], common_root(*(folder for _, folder in parts))
        if any(other != classes for (other, _), _ in parts):
            raise HashzooError(f"the categories of train{year} and val{year} differ; get both of one release")
        draw = np.random.default_rng(CAPTION_SEED)
        labels, texts, images = [], [], []
        for (_, pictures), folder in parts:
            there = {entry.name for entry in folder.iterdir()}
            for picture in pictures:
                mark = np.zeros(len(classes), dtype=bool)
                mark[picture.columns] = True
                labels.append(mark)
                caption = picture.captions[draw.integers(len(picture.captions))] if picture.captions else ""
                texts.append(" ".join(caption.split()))
                path = (folder.absolute() / picture.path).relative_to(root).as_posix()
                images.append(path if picture.path in there else "")
        return Pairs(classes, np.array(labels), texts, images, root)

    @classmethod
    def _part(cls, files: Source, name: str) -> tuple[tuple[list[str], list[Picture]], Path]:
        """Category names and pictures of "train2017", by number, and the folder that holds them."""
        captions, instances = (cls._json(files, f"{kind}_{name}.json") for kind in ("captions", "instances"))
        folder = files.find(f"{name}/{_first(captions[1], name)}", name)
        if folder is None:
            raise cls.missing(f"the pictures, the folder {name}, were")
        folder = folder if folder.is_dir() else folder.parent
        try:
            return _pictures(captions[1], instances[1]), folder
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise HashzooError(
                f"{captions[0]} or {instances[0]} is no annotation file of COCO ({error!r}); get it anew"
            ) from error

    @classmethod
    def _json(cls, files: Source, name: str) -> tuple[Path, dict[str, Any]]:
        path = files.find(f"annotations/{name}", name)
        if path is None:
            raise cls.missing(f"{name} was")
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise HashzooError(f"{path} cannot be read as JSON ({error}); get it anew") from error
        if not isinstance(content, dict):
            raise HashzooError(f"{path} is no annotation file of COCO; get it anew")
        return path, content


def _first(captions: dict[str, Any], name: str) -> str:
    """The file name of a picture, so that the folder is found that holds pictures."""
    try:
        return Path(captions["images"][0]["file_name"]).name
    except (KeyError, TypeError, IndexError):
        return name


def _pictures(captions: dict[str, Any], instances: dict[str, Any]) -> tuple[list[str], list[Picture]]:
    categories = sorted(instances["categories"], key=lambda category: category["id"])
    column = {category["id"]: n for n, category in enumerate(categories)}
    objects: dict[int, list[int]] = {}
    for annotation in instances["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(column[annotation["category_id"]])
    said: dict[int, list[str]] = {}
    for annotation in captions["annotations"]:
        said.setdefault(annotation["image_id"], []).append(str(annotation["caption"]))
    paths = {image["id"]: str(image["file_name"]) for image in captions["images"]}
    names = [str(category["name"]) for category in categories]
    return names, [Picture(paths[id_], said.get(id_, []), objects[id_]) for id_ in sorted(objects)]
