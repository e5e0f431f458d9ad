"""What the service refuses before it does any work: strangers, large bodies, slow ones, too many at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

OPEN = ("/", "/page.css", "/page.js", "/theme.js", "/healthz")  # what needs no token: nothing of a collection is in it
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and all of them together.

    Attributes:
        body: bytes of a request.
        pixels: of a picture that is looked for.
        k: hits of a search.
        characters: of a text that is looked for.
        seconds: to send a request, and until it is answered.
        at_once: requests to the interface that are worked on or wait; further ones are told to come again.
        where: whether conditions on metadata are taken.
    """

    body: int = 16 * 2**20
    pixels: int = 40_000_000
    k: int = 200
    characters: int = 10_000
    seconds: float = 15.0
    at_once: int = 64
    where: bool = True


class Refused(HTTPException):
    """A request that is not answered: its status, and one sentence for whoever sent it."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, sentence, dict(headers or {}))

    def content(self) -> bytes:
        return json.dumps({"error": self.detail}).encode()


class Guard:
    """An ASGI application around another one that lets through what keeps the limits.

    Args:
        app: what is guarded.
        limits: to be kept.
        token: that every request to the interface must bear; "" for none.
        hosts: names by which the service may be called, () for all: so a stranger's page whose own name leads to this
            machine reaches nothing.
        refused: is told the reason of each refusal: "host", "token", "full", "body", "slow".
        finished: is told route, method, status and seconds of each request.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        limits: Limits,
        token: str,
        hosts: Sequence[str],
        refused: Callable[[str], None],
        finished: Callable[[str, str, int, float], None],
    ):
        self.app, self.limits, self.hosts = app, limits, tuple(hosts)
        self.refused, self.finished = refused, finished
        self._token = _hashed(token.encode()) if token else b""
        self.working = 0

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.lower(): value for name, value in scope["headers"]}
        exchange = _Exchange(receive, send, headers, self._too_large)
        try:
            self._check(scope["path"], headers)
            if scope["path"].startswith("/api/"):
                await self._counted(scope, exchange)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except Refused as refusal:
            if exchange.status:  # the answer has begun: nothing else can be said
                raise
            await exchange.refuse(refusal)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.finished(route, scope["method"], exchange.status, time.perf_counter() - started)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Refuse by the head of a request alone."""
        if self.hosts and _host(headers) not in self.hosts:
            self.refused("host")
            raise Refused(421, "this service does not answer to that host name")
        if self._token and path not in OPEN:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            right = hmac.compare_digest(_hashed(given.strip()), self._token)
            if not right or kind.lower() != b"bearer":
                self.refused("token")
                raise Refused(
                    401, "this service needs a token: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
                )
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            self._too_large(int(length))

    def _too_large(self, size: int) -> None:
        """Refuse a body of so many bytes if it is too large."""
        if size > self.limits.body:
            self.refused("body")
            raise Refused(413, f"a request has at most {self.limits.body:,} bytes")

    async def _counted(self, scope: dict[str, Any], exchange: _Exchange) -> None:
        """Work on a request unless too many are worked on, and not for too long."""
        if self.working >= self.limits.at_once:
            self.refused("full")
            raise Refused(503, "the service is busy; come again in a second", {"retry-after": "1"})
        self.working += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            self.refused("slow")
            if exchange.complete:
                raise Refused(503, "the service is too busy to answer in time", {"retry-after": "2"}) from None
            raise Refused(408, f"a request is sent within {self.limits.seconds:g} seconds") from None
        finally:
            self.working -= 1


class _Exchange:
    """A request and its response: what has come in, and whether an answer has begun."""

    def __init__(
        self,
        receive: Callable[..., Any],
        send: Callable[..., Any],
        headers: Mapping[bytes, bytes],
        check: Callable[[int], None],
    ):
        self._receive, self._send, self._check = receive, send, check
        self._received = self.status = 0
        self.complete = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            self._check(self._received)
        return message

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # What is left of a body is not read: the connection ends with such an answer.
            added = HEADERS | ({} if self.complete else {"connection": "close"})
            pairs = [(name.encode(), value.encode()) for name, value in added.items()]
            message = {**message, "headers": [*message.get("headers", []), *pairs]}
        await self._send(message)

    async def refuse(self, refusal: Refused) -> None:
        content = refusal.content()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **(refusal.headers or {})}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status_code, "headers": pairs})
        await self.send({"type": "http.response.body", "body": content})


def _host(headers: Mapping[bytes, bytes]) -> str:
    """The name in the header Host, without a port."""
    given = headers.get(b"host", b"").decode("latin-1").lower()
    return given.partition("]")[0] + "]" if given.startswith("[") else given.partition(":")[0]


def _hashed(token: bytes) -> bytes:
    """Digests have one length: comparing them tells nothing about that of a token."""
    return hashlib.sha256(token).digest()
