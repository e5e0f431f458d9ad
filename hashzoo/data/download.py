"""Pinned files over HTTP(S): resumed where they broke off, checked, and there only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hashzoo.data.locks import alone
from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import write_error

TIMEOUT = 60  # seconds without a byte
ATTEMPTS = 5  # in a row without a byte more
PAUSE = 1.0  # seconds before the second attempt; doubled for each further one
CHUNK = 2**20
PASSING = {408, 425, 429}  # of the 4xx answers, those that another time may be different


@dataclass(frozen=True)
class Remote:
    """A file whose content is known: its address, SHA-256 or MD5 (where its site publishes only that), and size.

    `size` is in bytes, None where it is not known. One of the two checksums must be given.
    """

    url: str
    sha256: str = ""
    md5: str = ""
    size: int | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def is_intact(self, path: Path) -> bool:
        """Whether the file is there and has the pinned checksum."""
        kind, pinned = ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)
        try:
            if self.size is not None and path.stat().st_size != self.size:
                return False
            with open(path, "rb") as file:
                return hashlib.file_digest(file, kind).hexdigest() == pinned.lower()
        except OSError:
            return False


def download(remote: Remote, folder: Path, *, otherwise: str) -> Path:
    """Make `folder` hold the file, intact, and return its path; what is already there is not fetched again.

    A part that an earlier call left is resumed. `otherwise` ends the error sentence: what the user can do instead.

    Raises:
        HashzooError: the site has no such file, sends another one, or stops answering; the part is kept for the
            next call unless it is known to be wrong.
    """
    if not (remote.sha256 or remote.md5) or not remote.url.startswith(("http://", "https://")):
        raise ValueError(f"{remote.url} must be an HTTP address with a checksum")
    path, part = folder / remote.name, folder / f".{remote.name}.part"
    with alone(folder, f".{remote.name}.lock"):
        if remote.is_intact(path):
            return path
        path.unlink(missing_ok=True)
        try:
            _room(remote, folder, _size(part))
            _receive_all(remote, part, otherwise)
            os.replace(part, path)
        except OSError as error:
            raise write_error(path, error) from error
    return path


def _receive_all(remote: Remote, part: Path, otherwise: str) -> None:
    """Attempts until `part` is intact. Another file than the pinned one is thrown away and asked for once more."""
    fruitless, wrong = 0, 0
    while True:
        before = _size(part)
        reason = "" if before == remote.size else _receive(remote, part, before, otherwise)
        if not reason:
            if remote.is_intact(part):
                return
            part.unlink(missing_ok=True)
            wrong += 1
            if wrong == 2:
                raise HashzooError(
                    f"what {remote.url} sends is not the file that hashzoo knows (its checksum differs): {otherwise}",
                    exit_code=1,
                )
            continue
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless == ATTEMPTS:
            raise HashzooError(
                f"{remote.url} could not be downloaded ({reason}): run again to resume, or {otherwise}", exit_code=1
            )
        time.sleep(PAUSE * 2**fruitless)


def _receive(remote: Remote, part: Path, start: int, otherwise: str) -> str:
    """One request, appended to `part` from byte `start` on; "" when the answer came to its end, else what broke it."""
    headers = {"User-Agent": "hashzoo", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT) as answer:
            # A site without ranges sends everything from the beginning.
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if start and answer.status == 206 and not resumed:
                part.unlink(missing_ok=True)
                return "it sends another part than asked for"
            return _append(answer, remote, part, start if resumed else 0)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is left to send, or the part is longer than the file
            return ""
        if 400 <= error.code < 500 and error.code not in PASSING:
            raise HashzooError(
                f"{remote.url} cannot be downloaded ({error.code} {error.reason}): {otherwise}", exit_code=1
            ) from error
        return f"{error.code} {error.reason}"
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        return " ".join(str(getattr(error, "reason", error) or type(error).__name__).split())


def _append(answer: http.client.HTTPResponse, remote: Remote, part: Path, start: int) -> str:
    declared = answer.headers.get("Content-Length", "")
    length = int(declared) if declared.isdigit() else None
    total = start + length if length is not None else remote.size
    with (
        open(part, "ab" if start else "wb") as file,
        progress(f"Downloading {remote.name}", (total or start) - start, "bytes") as advance,
    ):
        received = 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
            if remote.size is not None and start + received > remote.size:
                break  # of another file; its checksum will not fit
    if length is not None and received < length:
        return "the connection was cut"
    return ""


def _room(remote: Remote, folder: Path, there: int) -> None:
    if remote.size is not None and shutil.disk_usage(folder).free < remote.size - there:
        raise HashzooError(
            f"{remote.name} has {remote.size:,} bytes, more than are free on the disk that holds {folder}; "
            f"free some space, or set HASHZOO_CACHE to a folder on another disk",
            exit_code=1,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
