"""Files that are complete or absent, canonical JSON, and where the cache lives."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    import numpy as np


# What numpy raises for an array file that is damaged: its header is read by a part of Python's own parser.
DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError, OverflowError, MemoryError, RecursionError),
    *(struct.error, tokenize.TokenError),
)


class StorageError(HashzooError):
    """A file could not be written: no reason to try the next one."""


def cache_dir() -> Path:
    """`$HASHZOO_CACHE`, or `$XDG_CACHE_HOME/hashzoo`, or `~/.cache/hashzoo`."""
    explicit = os.environ.get("HASHZOO_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "hashzoo"


def archive_folder(name: str) -> Path:
    """Where an archive of features lies: at a path, or, as `hashzoo features import` puts it, under a name."""
    path = Path(name).expanduser()
    imported = cache_dir() / "archives" / name
    return imported if path.name == name and not path.exists() and imported.is_dir() else path


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of bytes as they are, of anything else as canonical JSON."""
    data = value if isinstance(value, bytes) else canonical_json(value).encode()
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: Path) -> list[Any]:
    """Place, size, time and inode of a file or folder: while they stay, nobody has written it again."""
    path = Path(path).resolve()
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino]


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it onto `path` only if the block succeeds."""
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with open(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk: after a crash of the machine, new files are still in it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders, and needs no such call
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON (two-space indent, keys in the caller's order) in one piece."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def read_json(path: Path, advice: str = "delete it and run again") -> Any:
    """Read JSON; a file that is not JSON, which has no NaN either, is an error that names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, OSError, RecursionError) as error:
        raise HashzooError(f"{path} cannot be read as JSON ({error}); {advice}", exit_code=1) from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one .npz file, whole or not at all; equal arrays give equal bytes."""
    import numpy as np

    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            # ZipInfo without a date means 1980, so that the time of writing leaves no trace.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                array = arrays[name]
                np.lib.format.write_array(entry, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote; a missing, damaged or foreign file is an error that names it.

    Never more is allocated than the file is long: it may come from a stranger.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"'{entry.filename}' is compressed, which hashzoo does not do")
                found[entry.filename.removesuffix(".npy")] = _array(archive.read(entry))
            return found
    except FileNotFoundError as error:
        raise HashzooError(f"{path} does not exist; give the path of a file that hashzoo wrote") from error
    except (*DAMAGED, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HashzooError(f"{path} cannot be read ({reason}); delete it and make it again", exit_code=1) from error


def _array(content: bytes) -> np.ndarray:
    """The array of an .npy file in memory, as `write_arrays` wrote it."""
    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"format {version} of an array is not known")
    shape, in_columns, dtype = read_header[version](file)
    rest = memoryview(content)[file.tell() :]
    if dtype.hasobject or dtype.itemsize == 0 or any(size < 0 for size in shape):
        raise ValueError("an array holds what is no number and no text")
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError("an array has another size than it says")
    order: Literal["F", "C"] = "F" if in_columns else "C"
    return np.frombuffer(rest, dtype).reshape(shape, order=order).copy(order)


def write_error(path: Path, error: OSError) -> StorageError:
    """The sentence for a file that could not be written."""
    if error.errno == errno.ENOSPC:
        return StorageError(f"the disk that holds {path.parent} is full; free some space and run again", exit_code=1)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{path.parent} cannot be written to; choose another folder or change its permissions")
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
        return StorageError(f"{path} cannot be written ({error.strerror}); give a path where nothing else lies")
    return StorageError(f"{path} cannot be written ({error.strerror or error})", exit_code=1)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
