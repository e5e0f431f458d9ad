"""`milvus`: codes in a collection of Milvus, a BINARY_VECTOR each, compared by Hamming distance."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from hashzoo.codes import Codes
from hashzoo.errors import HashzooError
from hashzoo.search import Hits, Index
from hashzoo.search.base import NOTHING
from hashzoo.storage.files import read_json, write_json
from hashzoo_milvus.embedded import FILE, Embedded

ID, CODE = "id", "code"
OWN = "codes"  # the collection of an embedded index
REFERENCE = "collection.json"
TOKEN = "MILVUS_TOKEN"
MOST_HITS = 16384  # of a query; Milvus gives no more
ROWS = 10_000  # that one request brings
ANSWERS = 1 << 20  # hits that one request asks for
MOST_QUERIES = 4096  # in one request
INDEX_TYPES = ("BIN_FLAT", "BIN_IVF_FLAT")
STRONG = "Strong"  # a search waits for all that was added before: without it codes of the last second may be missed


class MilvusIndex(Index):
    """A collection of Milvus with two fields, `id` and `code`.

    Without `uri` it is embedded: milvus-lite keeps it in a file, of which `save` writes a copy. With `uri` the
    collection of that name on that server is used, and made if it is not there. A token is taken from the environment
    (MILVUS_TOKEN). What is saved then is a reference, and whoever opens the collection sees the changes of all others.

    Args:
        uri: address of a server, such as http://localhost:19530; "" for the embedded one.
        collection: its name on the server.
        index_type: "BIN_FLAT" compares every code, "BIN_IVF_FLAT" those of the nearest clusters; embedded, BIN_FLAT.
        nlist: clusters of BIN_IVF_FLAT.
        nprobe: clusters that a query looks into.
    """

    kind = "milvus"

    def __init__(
        self,
        bits: int,
        uri: str = "",
        collection: str = "",
        index_type: str = "BIN_FLAT",
        nlist: int = 1024,
        nprobe: int = 64,
    ):
        super().__init__(bits, uri=uri, collection=collection, index_type=index_type, nlist=nlist, nprobe=nprobe)
        if index_type not in INDEX_TYPES:
            raise ValueError(f"index_type is {' or '.join(INDEX_TYPES)}, not '{index_type}'")
        for name, value in (("nlist", nlist), ("nprobe", nprobe)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65536:
                raise ValueError(f"{name} is a whole number from 1 to 65536, not {value!r}")
        if bool(uri) != bool(collection):
            raise ValueError("uri and collection go together: the address of a server, and a name on it")
        if collection and not re.fullmatch(r"[A-Za-z_]\w{0,254}", collection):
            raise ValueError(f"'{collection}' is no name for a collection of Milvus; use letters, digits and _")
        if not uri and index_type != "BIN_FLAT":
            raise ValueError("the embedded Milvus has BIN_FLAT alone; give the uri of a server for BIN_IVF_FLAT")
        self.uri, self.name = uri, collection or OWN
        self.index_type, self.nlist, self.nprobe = index_type, nlist, nprobe
        self.embedded = None if uri else Embedded()
        self._opening = threading.Lock()
        self._client: Any = None
        if uri:
            self._opened()  # say at once what is wrong with the address

    @property
    def width(self) -> int:
        """Bytes of a code: Milvus holds whole ones."""
        return -(-self.bits // 8)

    def _opened(self) -> Any:
        """A client, with the collection there and loaded."""
        with self._opening:
            if self._client is None:
                with self._told():
                    if self.embedded:
                        client = self.embedded.connect()
                    else:
                        client = MilvusClient(uri=self.uri, token=os.environ.get(TOKEN, ""))
                    if client.has_collection(self.name):
                        self._check_collection(client)
                        client.load_collection(self.name)
                    else:
                        self._create_collection(client)
                self._client = client
            return self._client

    def _create_collection(self, client: Any) -> None:
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, DataType.INT64, is_primary=True)
        schema.add_field(CODE, DataType.BINARY_VECTOR, dim=8 * self.width)
        index = client.prepare_index_params()
        how = {"params": {"nlist": self.nlist}} if self.index_type == "BIN_IVF_FLAT" else {}
        index.add_index(CODE, index_type=self.index_type, metric_type="HAMMING", **how)
        client.create_collection(self.name, schema=schema, index_params=index, consistency_level=STRONG)

    def _check_collection(self, client: Any) -> None:
        fields = {field["name"]: field for field in client.describe_collection(self.name)["fields"]}
        code = fields.get(CODE, {})
        dims = int(code.get("params", {}).get("dim", 0))
        if set(fields) != {ID, CODE} or code.get("type") != DataType.BINARY_VECTOR or dims != 8 * self.width:
            raise HashzooError(
                f"collection '{self.name}' at {self.uri} does not hold codes of {self.bits} bits (it has "
                f"{', '.join(fields)}, and {dims} bits); give another name"
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What Milvus refuses, in one sentence."""
        try:
            yield
        except MilvusException as error:
            message = " ".join(str(error.message).split())
            if self.uri:
                said = f"Milvus at {self.uri} refuses: {message}; check the address, the token in {TOKEN} and its log"
            else:
                said = f"the embedded Milvus refuses: {message}; build the index again"
            raise HashzooError(said, exit_code=1) from error

    def __len__(self) -> int:
        client = self._opened()
        with self._told():
            (row,) = client.query(self.name, filter="", output_fields=["count(*)"], consistency_level=STRONG)
        return int(row["count(*)"])

    def _add(self, codes: Codes, ids: np.ndarray) -> None:
        client = self._opened()
        with self._told():
            for start in range(0, len(ids), ROWS):
                numbers, data = ids[start : start + ROWS].tolist(), codes.data[start : start + ROWS]
                rows = [{ID: number, CODE: row.tobytes()} for number, row in zip(numbers, data, strict=True)]
                client.upsert(self.name, rows)

    def _remove(self, ids: np.ndarray) -> None:
        client = self._opened()
        with self._told():
            for start in range(0, len(ids), ROWS):
                client.delete(self.name, ids=ids[start : start + ROWS].tolist())

    def _contains(self, ids: np.ndarray) -> np.ndarray:
        client, found = self._opened(), [np.empty(0, dtype=np.int64)]
        with self._told():
            for start in range(0, len(ids), ROWS):
                some = ids[start : start + ROWS].tolist()
                rows = client.get(self.name, ids=some, output_fields=[ID], consistency_level=STRONG)
                found.append(np.array([row[ID] for row in rows], dtype=np.int64))
        return np.isin(ids, np.concatenate(found))

    def _search(self, queries: Codes, k: int) -> Hits:
        client, k = self._opened(), min(k, MOST_HITS)
        ids = np.full((len(queries), k), NOTHING, dtype=np.int64)
        distances = np.full((len(queries), k), NOTHING, dtype=np.int32)
        at_once = max(1, min(MOST_QUERIES, ANSWERS // k))
        how = {"nprobe": self.nprobe} if self.index_type == "BIN_IVF_FLAT" else {}
        with self._told():
            for start in range(0, len(queries), at_once):
                answers = client.search(
                    self.name,
                    [row.tobytes() for row in queries.data[start : start + at_once]],
                    anns_field=CODE,
                    limit=k,
                    search_params={"metric_type": "HAMMING", "params": how},
                    consistency_level=STRONG,
                )
                for row, answer in enumerate(answers, start):
                    ids[row, : len(answer)] = [hit[ID] for hit in answer]
                    distances[row, : len(answer)] = [round(hit["distance"]) for hit in answer]
        return Hits(ids, distances)

    def _write(self, folder: Path) -> None:
        client = self._opened()
        with self._told():
            client.flush(self.name)
        if self.embedded:
            self.embedded.copy(folder / FILE)
        else:
            write_json(folder / REFERENCE, {"uri": self.uri, "collection": self.name})

    def _read(self, folder: Path) -> None:
        if self.embedded:
            shutil.copyfile(folder / FILE, self.embedded.path)
            return
        if read_json(folder / REFERENCE) != {"uri": self.uri, "collection": self.name}:
            raise ValueError(f"{REFERENCE} names another collection")
