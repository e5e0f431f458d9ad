import json
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from hashzoo import HashzooError
from hashzoo.search import Hits, Index


class Fit(Index):
    """Rows in the order of their ids, compared with numpy."""

    kind = "fit"
    exact = True

    def __init__(self, bits: int, **settings):
        super().__init__(bits, **settings)
        self.ids = np.empty(0, dtype=np.int64)
        self.data = np.empty((0, -(-bits // 8)), dtype=np.uint8)

    def __len__(self):
        return len(self.ids)

    def _add(self, codes, ids):
        kept = ~np.isin(self.ids, ids)
        self.ids, self.data = np.append(self.ids[kept], ids), np.append(self.data[kept], codes.data, axis=0)
        order = np.argsort(self.ids)
        self.ids, self.data = self.ids[order], self.data[order]

    def _remove(self, ids):
        kept = ~np.isin(self.ids, ids)
        self.ids, self.data = self.ids[kept], self.data[kept]

    def _contains(self, ids):
        return np.isin(ids, self.ids)

    def _search(self, queries, k):
        return self.nearest(self.distances(queries), k)

    def distances(self, queries):
        return np.bitwise_count(queries.data[:, None] ^ self.data).sum(axis=2, dtype=np.int32)

    def nearest(self, distances, k):
        places = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return Hits(self.ids[places], np.take_along_axis(distances, places, axis=1))

    def _write(self, folder):
        np.save(folder / "ids.npy", self.ids)
        np.save(folder / "data.npy", self.data)

    def _read(self, folder):
        self.ids, self.data = np.load(folder / "ids.npy"), np.load(folder / "data.npy")


class Candidates(Fit):
    """A search sees the codes that equal the query in some of the first bytes."""

    exact = False

    def __init__(self, bits: int, compared: int = 8):
        super().__init__(bits, compared=compared)
        self.compared = compared

    def candidates(self, queries):
        return (queries.data[:, None, : self.compared] == self.data[:, : self.compared]).any(axis=2)

    def _search(self, queries, k):
        distances = np.where(self.candidates(queries), self.distances(queries), self.bits + 1)
        hits = self.nearest(distances, k)
        none = hits.distances > self.bits
        return Hits(np.where(none, -1, hits.ids), np.where(none, -1, hits.distances))


class FitBytes(Candidates):
    kind = "fit-bytes"

    def __init__(self, bits: int, compared: int = 8):
        if bits % 8:
            raise HashzooError(f"codes of {bits} bits are no whole bytes; take a multiple of 8")
        super().__init__(bits, compared)


class Misnamed(Fit):
    pass


class NoIndex:
    kind = "no-index"


class FirstWord(Fit):
    kind = "first-word"

    def distances(self, queries):
        return np.bitwise_count(queries.data[:, None, :8] ^ self.data[:, :8]).sum(axis=2, dtype=np.int32)


class NoSuchLength(Fit):
    kind = "no-such-length"

    def __init__(self, bits: int):
        super().__init__(bits)
        if bits % 8:
            raise ValueError("d must be a multiple of 8")


class OneByte(Fit):
    kind = "one-byte"

    def distances(self, queries):
        return np.bitwise_count(queries.data[:, None] ^ self.data).sum(axis=2, dtype=np.uint8)


class InnerProduct(Fit):
    kind = "inner-product"

    def distances(self, queries):
        return 2 * super().distances(queries)


class Unsorted(Fit):
    kind = "unsorted"
    exact = False

    def _search(self, queries, k):
        hits = super()._search(queries, k)
        return Hits(hits.ids[:, ::-1], hits.distances[:, ::-1])


class Unpadded(Fit):
    kind = "unpadded"

    def search(self, queries, k):
        return super().search(queries, min(k, max(len(self), 1)))


class PaddedHigh(Candidates):
    kind = "padded-high"

    def _search(self, queries, k):
        hits = super()._search(queries, k)
        return Hits(hits.ids, np.where(hits.ids < 0, np.iinfo(np.int32).max, hits.distances))


class TiesAsAdded(Fit):
    kind = "ties-as-added"

    def _add(self, codes, ids):
        kept = ~np.isin(self.ids, ids)
        self.ids, self.data = np.append(self.ids[kept], ids), np.append(self.data[kept], codes.data, axis=0)


class OneBucket(Candidates):
    kind = "one-bucket"

    def candidates(self, queries):
        return (queries.data[:, None, :4] == self.data[:, :4]).all(axis=2)


class NarrowIds(Fit):
    kind = "narrow-ids"

    def _add(self, codes, ids):
        super()._add(codes, ids.astype(np.int32).astype(np.int64))

    def _remove(self, ids):
        super()._remove(ids.astype(np.int32))

    def _contains(self, ids):
        return super()._contains(ids.astype(np.int32))


class StoresFloats(Fit):
    kind = "stores-floats"

    def _write(self, folder):
        np.save(folder / "ids.npy", self.ids.astype(np.float64))
        np.save(folder / "data.npy", self.data)

    def _read(self, folder):
        with np.errstate(invalid="ignore"):
            self.ids = np.load(folder / "ids.npy").astype(np.int64)
        self.data = np.load(folder / "data.npy")


class Appends(Fit):
    kind = "appends"

    def _add(self, codes, ids):
        ids, data = np.append(self.ids, ids), np.append(self.data, codes.data, axis=0)
        order = np.argsort(ids, kind="stable")
        self.ids, self.data = ids[order], data[order]


class Hiding(Fit):
    """Rows stay where they are when they are removed, and are taken out when the index is stored."""

    def __init__(self, bits: int):
        super().__init__(bits)
        self.hidden = np.empty(0, dtype=np.int64)

    def __len__(self):
        return int(self._contains(self.ids).sum())

    def _contains(self, ids):
        return np.isin(ids, self.ids) & ~np.isin(ids, self.hidden)

    def _remove(self, ids):
        self.hidden = np.append(self.hidden, ids)

    def _write(self, folder):
        super()._remove(self.hidden)
        super()._write(folder)


class Forgetful(Hiding):
    kind = "forgetful"

    def _add(self, codes, ids):
        super()._add(codes, ids)
        self.hidden = np.setdiff1d(self.hidden, ids)


class Forgiving(Fit):
    kind = "forgiving"

    def remove(self, ids):
        self._remove(np.asarray(ids))


class Unforgiving(Fit):
    kind = "unforgiving"

    def __init__(self, bits: int):
        super().__init__(bits)
        self.hidden = np.empty(0, dtype=np.int64)

    def _add(self, codes, ids):
        kept = ~np.isin(ids, self.hidden)
        super()._add(codes[kept], ids[kept])

    def _remove(self, ids):
        super()._remove(ids)
        self.hidden = np.append(self.hidden, ids)


class LosesSettings(Fit):
    kind = "loses-settings"

    def __init__(self, bits: int, most: int = 1000):
        super().__init__(bits)
        self.most = most

    def _search(self, queries, k):
        return super()._search(queries, min(k, self.most))


class LoadsReadOnly(Fit):
    kind = "loads-read-only"

    def _read(self, folder):
        super()._read(folder)
        self.data.flags.writeable = False

    def _add(self, codes, ids):
        known = np.isin(ids, self.ids)
        self.data[np.searchsorted(self.ids, ids[known])] = codes.data[known]
        super()._add(codes[~known], ids[~known])


class Trusting(Fit):
    kind = "trusting"

    @classmethod
    def load(cls, folder):
        said = json.loads((Path(folder) / "hashzoo-index.json").read_text())
        index = cls(said["bits"], **said["settings"])
        index._read(Path(folder) / said["content"])
        return index


class KeepsCodes(Fit):
    kind = "keeps-codes"

    def _add(self, codes, ids):
        if len(self):
            super()._add(codes, ids)
        else:
            self.ids, self.data = ids.copy(), codes.data


class SharedCandidates(Candidates):
    kind = "shared-candidates"

    def __init__(self, bits: int, compared: int = 1):
        super().__init__(bits, compared)

    def candidates(self, queries):
        return np.broadcast_to(super().candidates(queries).any(axis=0), (len(queries), len(self)))


class Scratch(Fit):
    kind = "scratch"

    def _search(self, queries, k):
        self.queries = queries
        time.sleep(0.002)
        return super()._search(self.queries, k)


class SharedCache(Fit):
    kind = "shared-cache"
    answers: ClassVar[dict] = {}

    def __init__(self, bits: int):
        super().__init__(bits)
        self.answers.clear()

    def _add(self, codes, ids):
        self.answers.clear()
        super()._add(codes, ids)

    def _remove(self, ids):
        self.answers.clear()
        super()._remove(ids)

    def _search(self, queries, k):
        key = queries.data.tobytes(), k
        if key not in self.answers:
            self.answers[key] = super()._search(queries, k)
        return self.answers[key]
