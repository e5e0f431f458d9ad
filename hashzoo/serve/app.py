"""The HTTP interface: what it takes and gives, and the page."""

# Annotations are not postponed: FastAPI reads the limits of a service from those of its routes.
import asyncio
import contextlib
import functools
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from importlib.resources import files
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

import hashzoo
from hashzoo.errors import HashzooError
from hashzoo.processors import available_threads
from hashzoo.serve.limits import Guard, Limits, Refused
from hashzoo.serve.metrics import TYPE, Metrics
from hashzoo.serve.served import Served, decoded

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/theme.js": ("theme.js", "text/javascript"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REFRESH = 1.0  # seconds after which collections are looked at again
DECODERS = 2  # pictures that are decoded at one time: each may take as much memory as its pixels allow
MAX_ID = 2**63 - 1
CONDITION = 2_000  # characters


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="One sentence.")


class About(BaseModel):
    """A collection."""

    name: str = Field(description="In addresses.")
    codes: int = Field(description="How many there are.")
    bits: int = Field(description="Length of a code.")
    method: str
    encoders: dict[str, str] = Field(description="By what they encode, image and text.")
    dataset: str = Field(description="What the model was trained on.")
    takes: list[str] = Field(description="What can be looked for: image, text.")
    pictures: bool = Field(description="Whether items have pictures that can be shown.")
    columns: dict[str, str] = Field(description="SQL types of the metadata.")
    items: str | None = Field(description="Equal where the same ids stand for the same items; null where nobody knows.")
    outputs: bool = Field(description="Whether real values are kept, by which `rerank` puts hits in order.")


class Collections(BaseModel):
    """What is served."""

    version: str = Field(description="Of hashzoo.")
    collections: list[About]


class Item(BaseModel):
    """An item of a collection."""

    id: int
    code: str = Field(
        description="Two hexadecimal digits a byte; bit j is bit j % 8, from the least significant, of byte j // 8."
    )
    metadata: dict[str, Any] = Field(description="By column.")
    picture: str | None = Field(description="Where its picture is, relative to the page; null without one.")


class Hit(Item):
    """An item that was found."""

    distance: int = Field(description="Hamming distance of the codes in bits.")
    score: float | None = Field(None, description="Asymmetric distance, where hits were re-ranked.")


class Found(BaseModel):
    """What a search has found."""

    collection: str
    codes: int = Field(description="Codes of the collection.")
    bits: int
    code: str = Field(description="Of what was looked for, written as those of items.")
    hits: list[Hit] = Field(description="Nearest first, ties by id.")
    seconds: dict[str, float] = Field(description="Of the steps: encode, search.")


def create_app(
    served: Sequence[Served],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    *,
    token: str = "",
    hosts: Sequence[str] = (),
    metrics: Metrics | None = None,
    close: Callable[[], None] = lambda: None,
) -> Guard:
    """The service as an ASGI application.

    Args:
        served: collections.
        limits: of requests.
        token: that every request but those for the page and for /healthz must bear; "" for none.
        hosts: names by which it may be called; () for all.
        metrics: where it counts.
        close: is called when the service ends.
    """
    metrics = metrics or Metrics()
    by_name = {one.name: one for one in served}
    searching = anyio.CapacityLimiter(available_threads())  # more would only make each other slow
    decoding = anyio.CapacityLimiter(DECODERS)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_refreshed(served))
        yield
        task.cancel()
        await anyio.to_thread.run_sync(close)

    app = FastAPI(
        title="hashzoo",
        version=hashzoo.__version__,
        summary="Pictures found by texts, and texts by pictures, by the Hamming distance of binary codes.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    for kind in (HTTPException, RequestValidationError, HashzooError):
        app.add_exception_handler(kind, _refusal)

    def collection(name: str) -> Served:
        if name not in by_name:
            raise Refused(404, "there is no collection of that name; GET api/collections lists them")
        return by_name[name]

    class Asked(BaseModel):
        """What is looked for: one of text, code and id."""

        model_config = ConfigDict(extra="forbid")

        text: Annotated[str | None, Field(max_length=limits.characters)] = None
        code: Annotated[str | None, Field(max_length=1024, description="Written as those of items.")] = None
        id: Annotated[int | None, Field(ge=0, le=MAX_ID, description="Of an item; it finds what is like it.")] = None
        k: Annotated[int, Field(ge=1, le=limits.k, description="Most hits.")] = 10
        radius: Annotated[int | None, Field(ge=0, le=4096, description="Largest distance in bits.")] = None
        where: Annotated[str | None, Field(max_length=CONDITION, description="An SQL condition on the metadata.")] = (
            None
        )
        rerank: Annotated[
            int | None,
            Field(ge=1, le=50 * limits.k, description="So many nearest, from k, are put in order by real values."),
        ] = None

    Name = Annotated[str, Path(max_length=255, json_schema_extra={"enum": list(by_name)})]
    Id = Annotated[int, Path(ge=0, le=MAX_ID)]
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": what}
        for status, what in {
            400: "It cannot be read, or its condition cannot be computed.",
            **({401: "The token is missing or wrong."} if token else {}),
            404: "There is no such thing.",
            408: "It was not sent in time.",
            413: "It is too large.",
            422: "It asks for what cannot be asked for.",
            503: "The service is busy; Retry-After says when to come again.",
        }.items()
    }

    async def encoded(one: Served, outputs: Future) -> tuple[Any, float]:
        started = time.perf_counter()
        values = await asyncio.wrap_future(outputs)
        seconds = time.perf_counter() - started
        metrics.step("encode", one.name, seconds)
        return values, seconds

    async def found(one: Served, query: Any, seconds: float, **options: Any) -> Response:
        if options["where"] is not None and not limits.where:
            raise Refused(422, "this service takes no conditions; leave out where")
        started = time.perf_counter()
        threads = max(
            1, int(searching.total_tokens) // (searching.borrowed_tokens + 1)
        )  # searches share the processors
        code, hits = await _in_thread(searching, one.search, query, threads, **options)
        took = time.perf_counter() - started
        metrics.step("search", one.name, took)
        about = {"collection": one.name, "codes": len(one.collection), "bits": one.collection.bits, "code": code}
        return _json({**about, "hits": hits, "seconds": {"encode": round(seconds, 6), "search": round(took, 6)}})

    @app.get("/api/collections", response_model=Collections, responses=_some(problems, 401, 503))
    async def collections() -> Response:
        """What is served."""
        return _json({"version": hashzoo.__version__, "collections": [one.describe() for one in served]})

    @app.post("/api/collections/{name}/search", response_model=Found, responses=problems)
    async def search(name: Name, asked: Asked) -> Response:
        """The items nearest to a text, to a code, or to an item."""
        one = collection(name)
        given = [value for value in (asked.text, asked.code, asked.id) if value is not None]
        if len(given) != 1:
            raise Refused(422, "a search is for one of text, code and id; give one of them")
        seconds, query = 0.0, None
        if asked.text is not None:
            query, seconds = await encoded(one, one.encoding("text").ask(one.model, asked.text))
        elif asked.code is not None:
            query = one.read_code(asked.code)
        else:
            query = await _in_thread(searching, one.code_of, asked.id)
        options = asked.model_dump(include={"k", "radius", "where", "rerank"})
        return await found(one, query, seconds, **options)

    @app.post(
        "/api/collections/{name}/search/image",
        response_model=Found,
        responses=problems,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def search_image(
        request: Request,
        name: Name,
        k: Annotated[int, Query(ge=1, le=limits.k)] = 10,
        radius: Annotated[int | None, Query(ge=0, le=4096)] = None,
        where: Annotated[str | None, Query(max_length=CONDITION)] = None,
        rerank: Annotated[int | None, Query(ge=1, le=50 * limits.k)] = None,
    ) -> Response:
        """The items nearest to a picture, which is the body: a JPEG, PNG, WebP, GIF, BMP or AVIF file."""
        one = collection(name)
        encoding = one.encoding("image")
        picture = await _in_thread(decoding, decoded, await request.body(), limits.pixels)
        query, seconds = await encoded(one, encoding.ask(one.model, picture))
        return await found(one, query, seconds, k=k, radius=radius, where=where, rerank=rerank)

    @app.get("/api/collections/{name}/items/{id}", response_model=Item, responses=_some(problems, 401, 404, 422, 503))
    async def item(name: Name, id: Id) -> Response:
        """An item by its id."""
        return _json(await _in_thread(searching, collection(name).item, id))

    @app.get(
        "/api/collections/{name}/items/{id}/picture",
        response_class=Response,
        responses=_some(problems, 401, 404, 422, 503)
        | {200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def picture(name: Name, id: Id, side: Annotated[int, Query(ge=16, le=1024)] = 256) -> Response:
        """The picture of an item, made small: at most `side` pixels wide and high."""
        content = await _in_thread(decoding, collection(name).thumbnail, id, side)
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=300"})

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        # A state that cannot be read is no reason to end a service that answers from the one before.
        return _json({"status": "ok", "stale": [one.name for one in served if one.stale]})

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.text(), headers={"content-type": TYPE})

    for path, (file, media) in PAGE.items():
        app.add_api_route(path, functools.partial(_page, file, media), include_in_schema=False)
    if token:
        _document_token(app)
    guard = Guard(app, limits, token, hosts, metrics.refused, metrics.request)
    metrics.watch(lambda: guard.working, [(one.name, one.collection.__len__) for one in served])
    return guard


async def _in_thread(limiter: anyio.CapacityLimiter, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return await anyio.to_thread.run_sync(functools.partial(function, *args, **options), limiter=limiter)


async def _refreshed(served: Sequence[Served]) -> None:
    """See, from time to time, what writers have changed."""
    while True:
        await asyncio.sleep(REFRESH)
        for one in served:
            await anyio.to_thread.run_sync(one.refresh)


def _json(value: Any, status: int = 200) -> Response:
    content = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    headers = {"cache-control": "no-store"}
    return Response(content.encode(), status, media_type="application/json", headers=headers)


async def _refusal(request: Request, error: Exception) -> Response:
    """Every error in one form; nothing that was sent is sent back."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        said, status, headers = f"{where}: {first['msg']}".removeprefix(": "), 422, {}
        if first["type"] == "json_invalid":
            said, status = "the body is no JSON", 400
    elif isinstance(error, HTTPException):
        said, status, headers = str(error.detail), error.status_code, dict(error.headers or {})
    else:
        said, status, headers = "this cannot be answered", 422, {}
    return Response(
        json.dumps({"error": said}),
        status,
        media_type="application/json",
        headers=headers | {"cache-control": "no-store"},
    )


async def _page(name: str, kind: str, request: Request) -> Response:
    content = _content(name)
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "content-security-policy": POLICY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@functools.cache
def _content(name: str) -> bytes:
    return (files("hashzoo.serve") / "page" / name).read_bytes()


def _some(problems: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: problems[status] for status in statuses if status in problems}


def _document_token(app: FastAPI) -> None:
    """Say in the description of the interface that it needs a token."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        schema = plain()
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
        return schema

    app.openapi = described  # type: ignore[method-assign]
