import os
import socket

import numpy as np
from PIL import Image

from hashzoo.data.base import Dataset, Splits
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

ROWS = 24


class Fit(Dataset):
    """Every row has one label of four and a picture of noise, three rows are a group; the first six are queries."""

    name = "fit"
    classes = ("anchor", "boat", "car", "drum")
    licence = "Noise, in which no rights are claimed."
    groups = np.arange(ROWS) // 3

    def __init__(self, seed: int = 0, stripes: bool = False):
        self.seed = seed
        noise = np.random.default_rng([seed, stripes])
        self.pictures = noise.integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
        self.texts = [f"number {number}" for number in noise.permutation(1000)[:ROWS]]
        self.labels = np.eye(4, dtype=bool)[np.arange(ROWS) % 4]
        rest = np.arange(6, ROWS)
        self.splits = Splits(train=rest, query=np.arange(6), database=rest, rule="the first six rows are queries")

    def image(self, row):
        return Image.fromarray(self.pictures[row])

    def text(self, row):
        return self.texts[row]


class WithoutArchive(Fit):
    def __init__(self):
        raise RuntimeError("the archive is of another version")


class PreparesDefaults(Fit):
    name = "prepares-defaults"

    @classmethod
    def prepare(cls):
        """The settings are forgotten."""


class TrainsOnQueries(Fit):
    name = "trains-on-queries"

    def __init__(self):
        super().__init__()
        self.splits.train[0] = 0


class NamelessClass(Fit):
    name = "nameless-class"
    classes = ("anchor", "boat", " ", "drum")


class WithoutLicence(Fit):
    name = "without-licence"
    licence = ""


class UnusedClass(Fit):
    name = "unused-class"
    classes = (*Fit.classes, "eagle")

    def __init__(self):
        super().__init__()
        self.labels = np.pad(self.labels, ((0, 0), (0, 1)))


class BareRow(Fit):
    name = "bare-row"

    def __init__(self):
        super().__init__()
        self.labels[self.splits.train[3]] = False


class LonelyQuery(Fit):
    name = "lonely-query"

    def __init__(self):
        super().__init__()
        self.labels[:, 3] = False
        self.labels[np.arange(ROWS) % 4 == 3, 0] = True
        self.labels[0] = [False, False, False, True]


class TornGroup(Fit):
    name = "torn-group"
    groups = (np.arange(ROWS) + 1) // 3


class Grey(Fit):
    name = "grey"

    def image(self, row):
        return super().image(row).convert("L") if row == 20 else super().image(row)


class Restless(Fit):
    name = "restless"
    reads = 0

    def text(self, row):
        self.reads += 1
        return f"{super().text(row)}, read {self.reads} times"


class Shuffled(Fit):
    name = "shuffled"
    groups = None

    def __init__(self):
        super().__init__()
        order = np.random.default_rng(int.from_bytes(os.urandom(4), "little")).permutation(ROWS)
        self.splits = Splits(train=order[6:], query=order[:6], database=order[6:], rule="six rows of a shuffle")


class Repeated(Fit):
    name = "repeated"

    def __init__(self):
        super().__init__()
        self.pictures[1], self.texts[1] = self.pictures[13], self.texts[13]


class FingerprintOfTheDay(Fit):
    name = "fingerprint-of-the-day"

    def fingerprint(self):
        return super().fingerprint() + os.urandom(4).hex()


class FingerprintOfTexts(Fit):
    name = "fingerprint-of-texts"

    def fingerprint(self):
        return digest([self.classes, self.labels.tolist(), [self.text(row) for row in range(len(self))]])


class FingerprintOfSeed(Fit):
    """As of a file's checksum: it reads no row. The setting `stripes` is forgotten."""

    name = "fingerprint-of-seed"

    def fingerprint(self):
        return digest([self.name, self.seed])


class ReseedsNumpy(Fit):
    name = "reseeds-numpy"

    def __init__(self):
        np.random.seed(0)  # noqa: NPY002 - the point
        super().__init__()


class FetchesWhenOpened(Fit):
    def __init__(self):
        try:
            socket.create_connection(("localhost", 9), timeout=1)
        except OSError as error:
            raise HashzooError("the server cannot be reached; try again later") from error


class PreparesWhenOpened(Fit):
    def __init__(self):
        self.prepare()
        super().__init__()

    @classmethod
    def prepare(cls):
        raise AssertionError("the checks prepare a data set")


class AsksToBePrepared(Fit):
    def __init__(self):
        raise HashzooError("pictures are missing; type: hashzoo datasets prepare asks-to-be-prepared")


class Variants(Fit):
    def __init__(self, variant: str = ""):
        super().__init__(seed=len(variant))
        self.name = f"variants/{variant}" if variant else "variants"
