"""Choose between variants of SODA on held-out training rows: the tables of plugins/soda/README.md.

    python benchmarks/studies/choose_soda.py [--seeds 0,1,2] [--bits 64] [--only NAME,...] [--runs FOLDER]

A fifth of the concepts in the training rows of emoji/full become queries, the other training rows are trained on and
searched. The query rows of emoji/full are left out altogether, so that no choice is made on them.
"""

from __future__ import annotations

import argparse
from statistics import mean, stdev

import numpy as np
from PIL import Image

from hashzoo import Dataset, bench
from hashzoo.data.base import Splits
from hashzoo.data.emoji import Emoji

# Each variant is a method and settings of its own.
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "soda": ("soda", []),
    "soda-sets": ("soda-sets", []),
    "soda-sets with codes as targets": ("soda-sets", ["trainer.targets=codes"]),
    "soda-sets without teacher_contrast": ("soda-sets", ["trainer.teacher_contrast=0"]),
    "soda-sets without student_contrast": ("soda-sets", ["trainer.student_contrast=0"]),
    "dcmh": ("dcmh", []),
    "resnet": ("resnet", []),
}


class HeldOut(Dataset):
    """The rows of emoji/full with queries from its training rows; its own queries are in no split.

    Rows that show one concept stay on one side, as in emoji/full. The name and the fingerprint are those of
    emoji/full, since the content is: cached features are shared, and tracks differ by their splits.
    """

    def __init__(self) -> None:
        Emoji.prepare("full")
        self._emoji = Emoji("full")
        self.name, self.classes, self.labels = self._emoji.name, self._emoji.classes, self._emoji.labels
        self.licence = self._emoji.licence
        train = self._emoji.splits.train
        concepts = np.unique(self._emoji.concepts[train])
        # The raw stream of a bit generator never changes for a seed.
        order = np.argsort(np.random.PCG64(0).random_raw(len(concepts)), kind="stable")
        held = np.isin(self._emoji.concepts[train], concepts[order[: len(concepts) // 5]])
        rest = train[~held]
        rule = "a fifth of the concepts of the training rows of emoji/full are queries"
        self.splits = Splits(train=rest, query=train[held], database=rest, rule=rule)

    def image(self, row: int) -> Image.Image:
        return self._emoji.image(row)

    def text(self, row: int) -> str:
        return self._emoji.text(row)

    def fingerprint(self) -> str:
        return self._emoji.fingerprint()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--only", default=",".join(VARIANTS), help="names of variants, comma-separated")
    parser.add_argument("--runs", default="runs/choose-soda")
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    dataset = HeldOut()
    print("| variant | i2t | t2i | mean | sd | train s |\n|---|---|---|---|---|---|")
    for name in chosen.only.split(","):
        method, settings = VARIANTS[name]
        table = bench(
            [method],
            bits=[chosen.bits],
            dataset=dataset,
            seeds=seeds,
            settings=[f"{method}.{setting}" for setting in settings],
            runs=chosen.runs,
        )
        results = [result for result in table["results"] if result["method"] == method]
        scores = {d: [result["scores"][d]["map"] for result in results] for d in ("i2t", "t2i")}
        both = [mean(pair) for pair in zip(*scores.values(), strict=True)]
        spread = f"{stdev(both):.4f}" if len(both) > 1 else ""
        seconds = mean(result["seconds"]["train"] for result in results)
        columns = [f"{mean(values):.4f}" for values in (*scores.values(), both)]
        print(f"| {name} | {' | '.join(columns)} | {spread} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
