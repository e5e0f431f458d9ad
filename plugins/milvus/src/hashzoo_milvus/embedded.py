"""milvus-lite: a Milvus of one file and one process, for one index."""

from __future__ import annotations

import sqlite3
import tempfile
import time
import warnings
import weakref
from importlib import metadata
from pathlib import Path
from typing import Any

from hashzoo.errors import HashzooError

SUPPORTED = "2.5."
INSTALL = "pip install milvus-lite==2.5.1 'setuptools<81'"
FILE = "codes.db"
# The process of milvus-lite drops a connection on which it is asked every 10 seconds whether it is there.
NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}
PATIENCE = 60.0  # seconds in which the process has to answer; on an idle machine half of one is enough


class Embedded:
    """A database in a folder of its own, which goes away with this object; its process starts when it is asked for.

    Attributes:
        path: of the database file.
    """

    def __init__(self) -> None:
        check_installed()
        self._folder = tempfile.TemporaryDirectory(prefix="hashzoo-milvus-")
        self.path = Path(self._folder.name) / FILE

    def connect(self) -> Any:
        """A client of the database."""
        from milvus_lite.server import Server
        from pymilvus import MilvusClient, MilvusException

        server = Server(str(self.path))
        if not server.init() or not server.start():
            raise HashzooError(f"milvus-lite does not start in {self.path.parent}; see its log", exit_code=1)
        client = None
        until = time.monotonic() + PATIENCE
        while client is None:
            try:
                client = MilvusClient(server.uds_path, grpc_options=NO_PINGS)
            except MilvusException:  # it does not listen yet
                if time.monotonic() > until:
                    server.stop()
                    raise
                time.sleep(0.1)
        self._end = weakref.finalize(self, _end, client, server, self._folder)
        return client

    def copy(self, target: Path) -> None:
        """Write the database as it is to a file."""
        source, copy = sqlite3.connect(self.path), sqlite3.connect(target)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()


def _end(client: Any, server: Any, folder: tempfile.TemporaryDirectory) -> None:
    client.close()
    server.stop()
    folder.cleanup()


def check_installed() -> None:
    """HashzooError unless there is a milvus-lite that holds binary vectors and can be imported."""
    try:
        found = metadata.version("milvus-lite")
    except metadata.PackageNotFoundError:
        raise HashzooError(
            f"the embedded index 'milvus' needs milvus-lite; type: {INSTALL}; or give the address of a cluster as uri",
            exit_code=1,
        ) from None
    if not found.startswith(SUPPORTED):
        raise HashzooError(
            f"milvus-lite {found} is installed, which takes no binary vectors; type: {INSTALL}", exit_code=1
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise HashzooError(f"milvus-lite {found} cannot be imported ({error}); type: {INSTALL}", exit_code=1) from error
