"""Running the service: collections are loaded and warmed, then a socket is opened; it ends when it is asked to."""

from __future__ import annotations

import contextlib
import errno
import functools
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import uvicorn

from hashzoo.errors import HashzooError
from hashzoo.processors import available_threads
from hashzoo.serve.app import create_app
from hashzoo.serve.encoders import Encodings
from hashzoo.serve.limits import LOOPBACK, Guard, Limits
from hashzoo.serve.metrics import Metrics
from hashzoo.serve.served import Served, names_of

PATIENCE = 10  # seconds in which requests that are worked on are finished when the service ends


def service(paths: Sequence[Path], limits: Limits, *, token: str = "", hosts: Sequence[str] = ()) -> Guard:
    """The service of some collections, loaded and warm: its first search takes as long as any other."""
    # A search has one thread, an encoder half of the processors: neither waits for the other.
    torch.set_num_threads(max(1, available_threads() // 2))
    metrics = Metrics()
    encodings = Encodings(metrics.batch)
    served = [Served(name, path, encodings) for name, path in zip(names_of(paths), paths, strict=True)]
    for one in served:
        one.warm()
    return create_app(served, limits, token=token, hosts=hosts, metrics=metrics, close=encodings.close)


def run(paths: Sequence[Path], limits: Limits, *, host: str, port: int, token: str, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; what is worked on then is finished.

    Args:
        paths: of collections.
        host, port: where to listen; port 0 is a free one.
        say: is told where the page is, once it can be opened.
    """
    listening = _listen(host, port)
    with contextlib.closing(listening):
        local = host in ("127.0.0.1", "localhost", "::1")
        app = service(paths, limits, token=token, hosts=LOOPBACK if local else ())
        name, number = listening.getsockname()[:2]
        shown = "127.0.0.1" if name in ("0.0.0.0", "::") else f"[{name}]" if ":" in name else name
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=PATIENCE,
        )
        server = _Server(config)
        server.ready = functools.partial(say, f"http://{shown}:{number}/")
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it is ready, and whose end by a signal is no error."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; it listens when the server starts, so that nobody waits for a model to load."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise HashzooError(f"--host {host} is no address of this machine ({error.strerror or error})") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise HashzooError(f"port {port} is taken; give another --port, or 0 for a free one") from error
        raise HashzooError(f"{host}:{port} cannot be listened on ({error.strerror or error})") from error
    made.set_inheritable(True)
    return made
