"""A collection as the service has it: its model warm, its metadata in memory, its pictures found again."""

from __future__ import annotations

import collections
import contextlib
import io
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from hashzoo.codes import Codes
from hashzoo.data.pictures import read_picture
from hashzoo.errors import HashzooError, one_line
from hashzoo.evaluator.threads import allowed_threads
from hashzoo.inference.items import Shown
from hashzoo.inference.model import Model
from hashzoo.search import Collection
from hashzoo.search.hits import hits_of
from hashzoo.search.snapshot import Snapshot
from hashzoo.serve.encoders import Encoding, Encodings
from hashzoo.serve.limits import Refused
from hashzoo.serve.rows import Rows
from hashzoo.storage.files import digest

if TYPE_CHECKING:
    from PIL.Image import Image

UPLOADS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "AVIF")  # what browsers make
THUMBNAILS = 64 * 2**20  # bytes of small pictures that are kept
QUALITY = 80


class Served:
    """One collection. Threads may call all of it side by side.

    Args:
        name: in addresses.
        path: of the collection.
        encodings: shared by all that is served.
    """

    def __init__(self, name: str, path: Path, encodings: Encodings):
        self.name, self.collection = name, Collection(path)
        self.model: Model = self.collection.model()
        self._encodings: dict[str, Encoding] = {
            role: encodings.of(self.model, role) for role in ("image", "text") if self.model.encodes(role)
        }
        self.model.check()
        self._shown = Shown(self.collection.about.get("source", {}))
        self._thumbnails = Thumbnails(THUMBNAILS)
        self._rows = Rows()
        self._threads = allowed_threads()
        self.stale = False

    def warm(self) -> None:
        """Do once what the first search would have to wait for."""
        width = -(-self.collection.bits // 8)
        nearest = self.collection.query(Codes(np.zeros((1, width), dtype=np.uint8), self.collection.bits), k=1)
        self._rows.load(nearest.snapshot)
        if len(nearest.ids) and nearest.ids[0, 0] >= 0:
            with contextlib.suppress(Refused):  # told when somebody asks for it
                self.thumbnail(int(nearest.ids[0, 0]), 96)

    def describe(self) -> dict[str, Any]:
        """What the interface says of it."""
        about, source = self.model.about, self._shown.source
        return {
            "name": self.name,
            "codes": len(self.collection),
            "bits": self.collection.bits,
            "method": about["method"],
            "encoders": dict(self.model.recipe.encoders),
            "dataset": about["track"]["dataset"],
            "takes": sorted(self._encodings),
            "pictures": self._shown.any,
            "columns": self.collection.columns,
            "items": digest(source) if source.get("kind") in ("dataset", "texts") else None,
            "outputs": self.collection.outputs,
        }

    def encoding(self, role: str) -> Encoding:
        """Whom to ask for the code of a text or a picture."""
        if role not in self._encodings:
            raise Refused(422, f"the model of {self.name} takes no {role}s; look for something else in it")
        return self._encodings[role]

    def search(self, query: Any, threads: int = 1, **options: Any) -> tuple[str, list[dict[str, Any]]]:
        """The code of a query, in hexadecimal, and its hits.

        Args:
            query: one code, or (1, bits) real values.
            threads: that share the scan.
            options: k, radius, where and rerank, as in `Collection.query`.
        """
        numba.set_num_threads(min(threads, self._threads))  # of scans in this Python thread alone
        try:
            answer = self.collection.query(query, **options)
            (hits,) = hits_of(answer, self._rows.at)
        except HashzooError as error:
            raise self._refusal(error) from error
        codes = query.data if isinstance(query, Codes) else np.packbits(query > 0, axis=1, bitorder="little")
        return codes[0].tobytes().hex(), [self._with_picture(hit) for hit in hits]

    def read_code(self, text: str) -> Codes:
        """A code that somebody sends, in hexadecimal."""
        width = -(-self.collection.bits // 8)
        try:
            data = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)[None]
            if data.shape[1] != width or not text.isalnum():
                raise ValueError
            return Codes(data, self.collection.bits)
        except (ValueError, HashzooError):
            raise Refused(
                422, f"a code of {self.name} has {2 * width} hexadecimal digits; bits after the last of them are 0"
            ) from None

    def code_of(self, number: int) -> Codes:
        """The code of an item."""
        snapshot, place = self._located(number)
        return Codes(snapshot.taken(place, "codes"), self.collection.bits)

    def item(self, number: int) -> dict[str, Any]:
        """An item by its id."""
        snapshot, place = self._located(number)
        code = snapshot.taken(place, "codes")[0].tobytes().hex()
        (metadata,) = self._rows.at(snapshot, place)
        return self._with_picture({"id": number, "code": code, "metadata": metadata})

    def thumbnail(self, number: int, side: int) -> bytes:
        """The picture of an item as a WebP file of at most `side` x `side` pixels."""
        key = number, side
        content = self._thumbnails.get(key)
        if content is None:
            (metadata,) = self._rows.at(*self._located(number))
            try:
                picture = self._shown.picture(number, metadata)
            except Exception as error:  # of a plugin's data set, too; whoever runs the service is told
                print(f"hashzoo: {self.name}, item {number}: {one_line(error)}", file=sys.stderr)
                raise Refused(404, f"the picture of item {number} cannot be shown") from error
            if picture is None:
                raise Refused(404, f"item {number} has no picture")
            content = _webp(picture, side)
            self._thumbnails.put(key, content)
        return content

    def refresh(self) -> None:
        """See what a writer has added or deleted; a state that cannot be read is told once, and the last one kept.

        Whatever is wrong with it: an error that got out would end all further looks.
        """
        try:
            if self.collection.refresh():
                self.warm()
                self._thumbnails.clear()
            self.stale = False
        except Exception as error:
            if not self.stale:
                print(f"hashzoo: {self.name} cannot be read again: {one_line(error)}", file=sys.stderr)
            self.stale = True

    def _located(self, number: int) -> tuple[Snapshot, np.ndarray]:
        try:
            return self.collection.located([number])
        except HashzooError as error:
            raise Refused(404, f"{self.name} has no item {number}") from error

    def _with_picture(self, hit: dict[str, Any]) -> dict[str, Any]:
        known = self._shown.any and (self._shown.source.get("kind") == "dataset" or hit["metadata"].get(self._column))
        return {**hit, "picture": f"api/collections/{self.name}/items/{hit['id']}/picture" if known else None}

    @property
    def _column(self) -> str:
        return self._shown.source.get("column", "")

    def _refusal(self, error: HashzooError) -> Refused:
        """What a stranger is told of an error: no place on this machine."""
        if error.exit_code == 2:
            said = str(error).replace(str(self.collection.path), self.name)
            return Refused(400, said)
        print(f"hashzoo: {self.name}: {error}", file=sys.stderr)
        return Refused(503, f"{self.name} cannot be searched now", {"retry-after": "5"})


class Thumbnails:
    """Small pictures that were asked for last, up to a number of bytes."""

    def __init__(self, most: int):
        self._most, self._bytes, self._lock = most, 0, threading.Lock()
        self._kept: collections.OrderedDict[Any, bytes] = collections.OrderedDict()

    def get(self, key: Any) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Any, content: bytes) -> None:
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def decoded(content: bytes, most: int) -> Image:
    """The picture that somebody sends, as RGB.

    Args:
        content: of a file.
        most: pixels.
    """
    try:
        return read_picture(io.BytesIO(content), "what was sent", UPLOADS, most)
    except HashzooError as error:
        raise Refused(422, str(error).partition(";")[0]) from error


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each collection that fits into an address: its folder's, with a number where several have one."""
    names: list[str] = []
    for path in paths:
        base = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.resolve().name)
        base = base.strip(".") or "codes"
        name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, len(paths) + 2))) if n not in names)
        names.append(name)
    return names


def _webp(picture: Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "webp", quality=QUALITY)
    return file.getvalue()
