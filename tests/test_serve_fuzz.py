"""The search service under requests that nobody meant: by its own description, by mutation, and many at once.

HASHZOO_FUZZ=300 python -m pytest tests/test_serve_fuzz.py sends some ten thousand instead of a few, others each time.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import listening, scenes

from hashzoo.serve.limits import Limits
from hashzoo.serve.run import service

EXAMPLES = int(os.environ.get("HASHZOO_FUZZ", "8"))
CAMPAIGN = "HASHZOO_FUZZ" in os.environ
# No description tells that a text is no condition, and noise no picture: some of what it allows is refused.
NOT_CHECKED = [positive_data_acceptance]
LIMITS = Limits(body=200_000, pixels=100_000, at_once=16)


@pytest.mark.slow
def test_answers_are_as_described(served):
    app = service(list(served.values()), LIMITS)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 5
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            if mode == schemathesis.GenerationMode.POSITIVE or operation.path != "/api/collections":  # it takes nothing
                check(operation.as_strategy(generation_mode=mode))


def check(cases) -> None:
    """Send requests as the description allows, and as it forbids, and hold the answers against it."""

    @given(cases)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=not CAMPAIGN,
    )
    def one(case):
        response = case.call()
        assert response.status_code != 500
        case.validate_response(response, excluded_checks=NOT_CHECKED)

    one()


@functools.cache  # else the data set is opened five times for each request
def a_picture(form: str) -> bytes:
    file = io.BytesIO()
    scenes().image(0).save(file, form)
    return file.getvalue()


def requests(chance: random.Random) -> bytes:
    """A request in which some bytes are not what they should be."""
    pictures = [a_picture(form) for form in ("png", "jpeg", "gif", "webp", "bmp")]
    bodies = [
        *(("search/image?k=3", "image/png", content) for content in pictures),
        ("search", "application/json", json.dumps({"text": "a red circle", "k": 3, "where": "id > 3"}).encode()),
        ("search", "application/json", json.dumps({"code": "0f0f0f", "radius": 9, "rerank": 20}).encode()),
        ("search", "application/json", json.dumps({"id": 3, "k": 200}).encode()),
    ]
    path, kind, body = chance.choice(bodies)
    body = mutated(body, chance)
    lines = [
        f"POST /api/collections/{chance.choice(['rows', 'short', 'files', 'x'])}/{path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if chance.random() < 0.3:
        lines = [
            f"GET /api/collections/rows/items/{chance.choice(['3', '-1', '1e9', '%00', '9' * 40, '..', 'é'])}"
            f"{chance.choice(['', '/picture', '/picture?side=' + str(chance.randrange(-9, 9999))])} HTTP/1.1",
            *lines[1:2],
            "Connection: close",
        ]
        body = b""
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return (mutated(head, chance) if chance.random() < 0.4 else head) + body


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Bytes with a few changed, inserted, repeated or cut off."""
    made = bytearray(content)
    for _ in range(chance.choice([0, 1, 1, 2, 5, 20])):
        place = chance.randrange(len(made) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(made):
            made[place] = chance.randrange(256)
        elif kind == 1:
            made[place:place] = chance.randbytes(chance.choice([1, 4, 300]))
        elif kind == 2:
            made[place:place] = made[: chance.randrange(50)]
        elif chance.random() < 0.3:
            del made[place:]
    return bytes(made)


def sent(address: str, content: bytes) -> bytes:
    """What a service answers to bytes, after which nothing more is sent."""
    with socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):  # it has heard enough
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


def test_malformed_requests_break_nothing(served, capfd):
    seed = random.randrange(2**32) if CAMPAIGN else 0
    chance = random.Random(seed)
    with listening(service(list(served.values()), LIMITS)) as address:
        statuses = {}
        for number in range(25 * EXAMPLES):
            answer = sent(address, requests(chance))
            status = answer[9:12].decode("latin-1")
            statuses[status] = statuses.get(status, 0) + 1
            assert status != "500", (seed, number, answer)
            assert str(served["rows"].parent).encode() not in answer
        assert {"400", "404", "422"} <= set(statuses), statuses
        healthy(address)
    said = capfd.readouterr()
    assert "Traceback" not in said.err, said.err


def healthy(address: str) -> None:
    assert httpx2.get(f"{address}healthz").json() == {"status": "ok", "stale": []}
    found = httpx2.post(f"{address}api/collections/rows/search", json={"text": "a red circle"}).json()
    assert len(found["hits"]) == 10


@pytest.mark.slow
def test_a_hundred_clients_at_once(served):
    clients, rounds = 100, max(2, EXAMPLES // 50)
    statuses: list[int] = []
    picture = a_picture("png")

    def client(number: int, address: str) -> None:
        with httpx2.Client(timeout=60) as session:
            for turn in range(rounds):
                kind = (number + turn) % 4
                path = f"{address}api/collections/{('rows', 'short', 'files')[number % 3]}"
                if kind == 0:
                    response = session.post(f"{path}/search", json={"text": f"a red circle {number} {turn}"})
                elif kind == 1:
                    response = session.post(f"{path}/search/image", content=picture)
                elif kind == 2:
                    response = session.post(f"{path}/search", json={"id": 0 if number % 3 == 2 else 9})
                else:
                    response = session.get(f"{path}/items/1/picture")
                statuses.append(response.status_code)
                if response.status_code == 503:
                    assert int(response.headers["retry-after"]) > 0

    def burst(address: str) -> None:
        threads = [threading.Thread(target=client, args=(number, address)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    app = service(list(served.values()), LIMITS)
    with listening(app) as address:
        burst(address)
        before = resident()
        burst(address)
        grown = resident() - before
        assert len(statuses) == 2 * clients * rounds
        assert set(statuses) <= {200, 404, 503}, set(statuses)  # an item whose picture is gone is a 404
        assert statuses.count(200) > clients * rounds // 10
        assert app.working == 0
        assert grown < 64 * 2**20, f"{grown:,} bytes more after the second burst"
        healthy(address)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
