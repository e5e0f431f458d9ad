"""A collection: packed codes with ids, metadata and the model that made them, in a folder that survives its writers."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from hashzoo.codes import MAX_BITS, Codes, pack, to_numpy
from hashzoo.errors import HashzooError
from hashzoo.search import rerank as asymmetric
from hashzoo.search.answer import Answer, answered, frame, reranked
from hashzoo.search.base import NOTHING, checked_ids, is_whole
from hashzoo.search.manifest import NAME, File, Manifest, read_manifest
from hashzoo.search.scan import nearest_places, places_within
from hashzoo.search.segments import remove_leftovers
from hashzoo.search.snapshot import Snapshot, open_snapshot
from hashzoo.search.writing import Batch, check_codes, due, merge, to_compact, without
from hashzoo.storage.files import atomic_write, canonical_json, sync_folder, write_error

if TYPE_CHECKING:
    import pandas
    import pyarrow

MODEL = "model"
CELLS = 1 << 27  # of an answer
K = 10  # hits of a query that asks for no number
OWN = {NAME, MODEL, "segments", "deleted"}


class Collection:
    """The state of a collection when it was opened, and a way to change it.

    Readers and one writer, in any number of processes and threads, do not disturb each other: an opened collection
    answers from its state until `refresh`, or until a change is made through this object. Writers wait for each other.
    When `append`, `delete` or `compact` returns, the change is on the disk; a process that is killed before loses at
    most that change, all of it.

    All calls raise HashzooError on bad arguments, and then leave the collection as it was.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._snapshot = open_snapshot(self.path)
        self._model: Any = None

    @classmethod
    def create(
        cls,
        path: Path | str,
        bits: int,
        *,
        outputs: bool = False,
        model: Mapping[str, Path | bytes] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Collection:
        """Make an empty collection in a folder that is new or empty.

        Args:
            bits: code length, 1 to 4096.
            outputs: keep real-valued outputs for re-ranking, 2 bytes a bit.
            model: files to keep under `model/`, by name: what `hashzoo.inference.model.load_model` needs.
            about: plain JSON to keep with it.
        """
        path = Path(path)
        if not is_whole(bits) or not 1 <= bits <= MAX_BITS:
            raise HashzooError(f"a collection holds codes of 1 to {MAX_BITS} bits, not {bits!r}; give a number of bits")
        try:
            canonical_json(dict(about or {}))
        except (TypeError, ValueError) as error:
            raise HashzooError(f"about= is kept as JSON, which it is not ({error}); give plain values") from error
        check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with FileLock(path / ".lock"):
                if (path / NAME).exists():
                    raise HashzooError(f"{path} holds a collection already; open it, or give a new folder")
                files = {name: _keep(path / MODEL / name, source) for name, source in (model or {}).items()}
                if files:
                    sync_folder(path / MODEL)
                Manifest(int(bits), bool(outputs), model=files, about=dict(about or {})).write(path)
                sync_folder(path.absolute().parent)
        except OSError as error:
            raise write_error(path / NAME, error) from error
        return cls(path)

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def bits(self) -> int:
        """Code length."""
        return self._snapshot.manifest.bits

    @property
    def columns(self) -> dict[str, str]:
        """SQL type of each column of metadata: what a condition can be about, beside `id`."""
        return dict(self._snapshot.manifest.columns)

    @property
    def outputs(self) -> bool:
        """Whether real-valued outputs are kept."""
        return self._snapshot.manifest.outputs

    @property
    def about(self) -> dict[str, Any]:
        """What was kept at creation."""
        return dict(self._snapshot.manifest.about)

    @property
    def version(self) -> int:
        """Counts the changes: equal versions of one collection are equal."""
        return self._snapshot.manifest.version

    def refresh(self) -> bool:
        """Go on with the present state; whether it is another than before."""
        with self._lock:  # so that a thread does not go back to a state before that of another
            before = self._snapshot
            self._snapshot = open_snapshot(self.path, before)
            return self._snapshot is not before

    def verify(self) -> None:
        """Read every file of this state and compare it with its digest."""
        self._snapshot.verify()

    def model(self) -> Any:
        """The model that made the codes: what `hashzoo.inference.model.load_model` makes of `model/`, once."""
        if self._model is None:
            if not self._snapshot.manifest.model:
                raise HashzooError(
                    f"the collection in {self.path} has no model; give codes instead of texts and images"
                )
            self._snapshot.check_model()
            from hashzoo.inference.model import load_model

            self._model = load_model(self.path / MODEL)
        return self._model

    def append(self, codes: Codes, ids: Any = None, metadata: Any = None, outputs: Any = None) -> np.ndarray:
        """Add n rows, and return their ids, (n,) int64; on return they are on the disk.

        Args:
            codes: n codes.
            ids: (n,) whole numbers from 0 that are not in the collection; None: the next ones after the largest that
                ever was.
            metadata: n rows of a pandas.DataFrame, pyarrow.Table or mapping of names to columns. Columns that earlier
                rows have not, or these, are NULL there. A column keeps its type.
            outputs: (n, bits) real values, kept as float16; needed if, and only if, the collection keeps outputs.
        """
        batch = Batch.of(self._snapshot.manifest, codes, ids, metadata, outputs)
        if not len(codes):
            return np.empty(0, dtype=np.int64)
        with self._writing():
            while group := due(self._snapshot.manifest):
                self._become(merge(self._snapshot, group, self._snapshot.manifest.columns))
            added, table, columns = batch.fitted(self._snapshot)
            if columns and not self.columns and len(self):  # the first metadata: earlier rows get their NULLs
                self._become(merge(self._snapshot, self._snapshot.manifest.segments, columns))
            self._become(batch.written(self._snapshot, added, table, columns))
        return added

    def delete(self, ids: Any) -> None:
        """Take rows out, by their ids; if one of them is not in the collection, none is deleted."""
        numbers = checked_ids(ids)
        with self._writing():
            places = self._snapshot.find(numbers)
            if len(unknown := numbers[places < 0]):
                raise HashzooError(
                    f"id {unknown[0]} is not in the collection, so nothing was deleted; leave unknown ids out"
                )
            if len(numbers):
                self._become(without(self._snapshot, np.sort(places)))

    def compact(self) -> None:
        """Merge segments and drop deleted rows. Killed in the middle, what was merged so far stays merged."""
        with self._writing():
            for group in list(to_compact(self._snapshot.manifest)):
                self._become(merge(self._snapshot, group, self._snapshot.manifest.columns))
            remove_leftovers(self.path, self._snapshot.manifest)

    def contains(self, ids: Any) -> np.ndarray:
        """(n,) bool: which of n ids are in the collection."""
        return self._snapshot.find(checked_ids(ids)) >= 0

    def ids(self, where: str | None = None) -> np.ndarray:
        """(n,) int64, ascending: all ids, or those of the rows that satisfy an SQL condition on the metadata."""
        snapshot = self._snapshot
        found = [np.empty(0, dtype=np.int64)]
        selected = snapshot.selected(where)
        with snapshot.guarded():
            for segment, mask in zip(snapshot.segments, selected, strict=True):
                found.append(segment.content.ids if mask is None else segment.content.ids[mask])
        return np.sort(np.concatenate(found))

    def metadata(self, ids: Any) -> pandas.DataFrame:
        """`id` and the columns of metadata of n ids, one row each, in their order."""
        return frame(*self.located(ids))

    def codes(self, ids: Any) -> Codes:
        """The codes of n ids, in their order."""
        snapshot, places = self.located(ids)
        return Codes(snapshot.taken(places, "codes"), self.bits)

    def located(self, ids: Any) -> tuple[Snapshot, np.ndarray]:
        """The present state, and the (n,) int64 places of n ids in it; an id that is not there is an error."""
        numbers, snapshot = checked_ids(ids), self._snapshot
        places = snapshot.find(numbers)
        if len(unknown := numbers[places < 0]):
            raise HashzooError(f"id {unknown[0]} is not in the collection; leave unknown ids out")
        return snapshot, places

    def blocks(self, rows: int = 1 << 16) -> Iterator[tuple[np.ndarray, Codes, pyarrow.Table | None]]:
        """All rows, at most so many at a time: (n,) int64 ids, codes, and a table of `id` and metadata if there is any.

        Rows come in the order of their ids, as long as all ids that were appended were larger than those before.
        """
        snapshot = self._snapshot
        for segment, start in zip(snapshot.segments, snapshot.starts, strict=False):
            live = np.arange(segment.part.rows) if segment.live is None else np.flatnonzero(segment.live)
            for begin in range(0, len(live), rows):
                places = start + live[begin : begin + rows]
                codes = Codes(snapshot.taken(places, "codes"), self.bits)
                table = snapshot.metadata(places) if snapshot.manifest.columns else None
                yield snapshot.taken(places, "ids"), codes, table

    def query(
        self,
        codes: Any = None,
        *,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        k: int | None = None,
        radius: int | None = None,
        where: str | None = None,
        rerank: int | None = None,
    ) -> Answer:
        """The nearest codes of each of Q queries by Hamming distance, exactly; ties by id.

        Args:
            codes: `Codes`, or (Q, bits) real values, of which the signs are the codes.
            text: instead of codes, a text or several.
            image: instead of codes, a path or a PIL image, or several.
            k: hits of a query; None: 10, or with a radius all.
            radius: the largest distance in bits.
            where: an SQL condition on the metadata; rows that do not satisfy it are not searched.
            rerank: so many nearest, at least k, are put in the order of their asymmetric distance: bits / 2
                (1 - cosine) of the real values of the query and the outputs that the collection keeps, or its codes
                as -1 and 1. That is the Hamming distance where both are -1 and 1. Ties are by id.

        Returns:
            ids and distances, (Q, k) each.
        """
        snapshot = self._snapshot
        k = K if k is None and radius is None else k
        _check_numbers(k, radius, rerank)
        queries, values = self._queries(codes, text, image)
        if k is not None and len(queries) * k > CELLS:
            raise HashzooError(f"{len(queries):,} queries with {k:,} hits each are too many at a time; ask for fewer")
        selected = snapshot.selected(where)
        if k is None:
            assert radius is not None
            places, distances = places_within(snapshot, queries, radius, selected)
            return answered(snapshot, places, distances)
        if rerank is not None and values is None and not snapshot.manifest.outputs:
            raise HashzooError("packed codes cannot re-rank packed codes; give real values, a text or an image")
        # No answer is longer than the collection, whatever k is.
        wanted = min(rerank or k, max(1, len(snapshot)))
        places, distances = nearest_places(snapshot, queries, wanted, selected)
        if radius is not None:
            places = np.where(distances <= radius, places, NOTHING)
            distances = np.where(distances <= radius, distances, NOTHING)
        scores = None
        if rerank is not None:
            real = asymmetric.signs_of(queries) if values is None else values
            places, distances, scores = reranked(snapshot, real, places, distances)
        return answered(snapshot, places, distances, scores, k)

    def _queries(self, codes: Any, text: Any, image: Any) -> tuple[Codes, np.ndarray | None]:
        """The codes of the queries, and their real values where they are known."""
        if sum(given is not None for given in (codes, text, image)) != 1:
            raise HashzooError("a query is one of codes=, text= and image=; give one of them")
        if text is not None:
            return _pair(self.model().encode_texts([text] if isinstance(text, str) else list(text)), self.bits)
        if image is not None:
            return _pair(
                self.model().encode_images(list(image) if isinstance(image, list | tuple) else [image]), self.bits
            )
        if isinstance(codes, Codes):
            check_codes(codes, self.bits)
            return codes, None
        values = to_numpy(codes)
        packed = pack(values)
        check_codes(packed, self.bits)
        if not np.isfinite(values).all():
            raise HashzooError("the real values of a query are finite numbers; find out which step made others")
        return packed, values

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer for the block, at the present state."""
        try:
            with FileLock(self.path / ".lock"):
                self.refresh()
                remove_leftovers(self.path, self._snapshot.manifest)
                try:
                    yield
                except BaseException:  # a full disk, perhaps: what is half done makes room again
                    with contextlib.suppress(HashzooError, OSError):
                        remove_leftovers(self.path, read_manifest(self.path)[0])
                    raise
        except OSError as error:
            raise write_error(self.path / NAME, error) from error

    def _become(self, following: Manifest) -> None:
        following.write(self.path)
        self.refresh()


def _check_numbers(k: int | None, radius: int | None, rerank: int | None) -> None:
    if k is not None and (not is_whole(k) or k < 1):
        raise HashzooError(f"k, the number of hits for a query, is a whole number from 1, not {k!r}; give another")
    if radius is not None and (not is_whole(radius) or radius < 0):
        raise HashzooError(f"a radius is a whole number of bits from 0, not {radius!r}; give another")
    if rerank is not None and (not is_whole(rerank) or rerank < (k or 1)):
        raise HashzooError(f"rerank, the number of candidates, is a whole number from k ({k}), not {rerank!r}")
    if rerank is not None and k is None:
        raise HashzooError("to re-rank what lies within a radius, give k, too: the number of hits")


def _pair(encoded: tuple[Codes, Any], bits: int) -> tuple[Codes, np.ndarray]:
    codes, outputs = encoded
    check_codes(codes, bits)
    return codes, to_numpy(outputs)


def check_new(path: Path) -> None:
    """Raise unless a collection can be made there: in a folder that does not exist, or is empty."""
    if path.exists() and (not path.is_dir() or any(_foreign(path))):
        raise HashzooError(f"{path} is not empty; give a new folder")


def _foreign(folder: Path) -> Iterator[str]:
    """What is in a folder and no part of a collection, not even of one that was never finished."""
    return (path.name for path in folder.iterdir() if path.name not in OWN and not path.name.startswith("."))


def _keep(path: Path, source: Path | bytes) -> File:
    """A file of the model in the collection, on the disk on return."""
    if path.parent.name != MODEL:
        raise HashzooError(f"files of a model have plain names, not '{path.name}'; rename it")
    with atomic_write(path) as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with open(source, "rb") as original:
                shutil.copyfileobj(original, file)
    return File.of(path)
