"""What the service counts, in the words of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "hashzoo_requests", "Requests that were answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "hashzoo_request_seconds", "From a request to its answer.", ("route",), registry=registry, buckets=SECONDS
        )
        self._steps = Histogram(
            *("hashzoo_step_seconds", "Steps of a search: encode, search.", ("step", "collection")),
            registry=registry,
            buckets=SECONDS,
        )
        self._batch = Histogram(
            *("hashzoo_encoder_batch", "Queries that went through an encoder together.", ("role",)),
            registry=registry,
            buckets=(1, 2, 4, 8, 16),
        )
        self._refused = Counter("hashzoo_refused", "Requests that were refused.", ("reason",), registry=registry)
        self._working = Gauge("hashzoo_working", "Requests that are worked on or wait.", registry=registry)
        self._codes = Gauge("hashzoo_codes", "Codes of a collection.", ("collection",), registry=registry)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def step(self, name: str, collection: str, seconds: float) -> None:
        self._steps.labels(name, collection).observe(seconds)

    def batch(self, role: str, count: int) -> None:
        self._batch.labels(role).observe(count)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def watch(self, working: Callable[[], int], codes: Sequence[tuple[str, Callable[[], int]]]) -> None:
        """What is looked up when somebody asks."""
        self._working.set_function(working)
        for name, count in codes:
            self._codes.labels(name).set_function(count)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
