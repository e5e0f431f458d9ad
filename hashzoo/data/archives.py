"""What the user has of a data set: folders and archives, unpacked safely and searched for known names."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hashzoo.errors import HashzooError
from hashzoo.progress import progress
from hashzoo.storage.files import write_error

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without lzma: zipfile and tarfile say so themselves
    LZMAError = EOFError  # type: ignore[misc, assignment]

MAX_BYTES = 2**38  # of all members together: ten times the largest data set of this field
MAX_MEMBERS = 2_000_000
MAX_RATIO = 200  # unpacked to packed, looked at from FREE_BYTES on: tables of zeros are small and pack well
FREE_BYTES = 2**30
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")
MAX_PATH = 4096  # characters of a member's path, more than systems write
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, gzip.BadGzipFile),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)


@dataclass(frozen=True)
class Member:
    """A file of an archive: where it goes, relative to the folder, its size, and how to read it."""

    path: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a (compressed) tar, by its content."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except OSError:
        return False


def unpack(archive: Path, into: Path, most_bytes: int | None = None, most_members: int | None = None) -> None:
    """Unpack a zip or tar into a folder. Everything is checked before anything is written.

    A file that is there already with the right size is kept, so that a killed run is resumed; each file is whole
    or absent.

    Args:
        archive: of a data set, or of runs.
        into: the folder; it is made.
        most_bytes, most_members: what all files together may have, and how many there may be; None: the limits above.

    Raises:
        HashzooError: it is damaged, no archive, has members outside the folder, links, devices, two names that some
            file systems take for one, or unpacks to more than the limits above.
    """
    with contextlib.ExitStack() as stack:
        try:
            if zipfile.is_zipfile(archive):
                found = _zip_members(archive, stack.enter_context(zipfile.ZipFile(archive)))
            else:
                found = _tar_members(archive, stack.enter_context(tarfile.open(archive)))
            members = list(_checked(archive, found, most_bytes or MAX_BYTES, most_members or MAX_MEMBERS))
        except DAMAGE as error:
            raise _damaged(archive, error) from error
        except OSError as error:
            raise HashzooError(f"{archive} cannot be read ({error.strerror or error}); give a zip or tar") from error
        missing = [member for member in members if _size(into / member.path) != member.size]
        if not missing:
            return
        with progress(f"Unpacking {archive.name}", len(missing), "files") as advance:
            for member in missing:
                _write(archive, member, into / member.path)
                advance(1)


def _checked(archive: Path, members: Iterator[Member], most_bytes: int, most_members: int) -> Iterator[Member]:
    """The members, one by one, as long as names and sizes are in order."""
    packed = max(archive.stat().st_size, 1)
    total = 0
    spelled: dict[str, str] = {}
    folders: set[str] = set()
    for count, member in enumerate(members, start=1):
        total += member.size
        if total > most_bytes or count > most_members or (total > FREE_BYTES and total > MAX_RATIO * packed):
            raise HashzooError(
                f"{archive} would unpack to more than hashzoo writes ({total:,} bytes by file {count:,}, packed in "
                f"{packed:,}); unpack it yourself and give the folder"
            )
        key = _key(member.path)
        other = spelled.setdefault(key, member.path)
        if other is not member.path:
            raise HashzooError(
                f"{archive} holds both '{other}' and '{member.path}', one name on some file systems; "
                f"unpack it yourself and give the folder"
            )
        parents = [key.rsplit("/", n)[0] for n in range(1, key.count("/") + 1)]
        folders.update(parents)
        if key in folders or any(parent in spelled for parent in parents):
            raise HashzooError(f"{archive} holds '{member.path}' both as a file and as a folder; get it anew")
        yield member


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, info.filename, "a link or a device")
        if not info.filename:
            raise _refused(archive, info.filename, "a file without a name")
        if info.is_dir():
            _safe(archive, info.filename)
            continue
        if info.flag_bits & 1:
            raise HashzooError(f"{archive} is encrypted; unpack it yourself and give the folder")
        path = _safe(archive, info.filename)
        if path is not None:
            yield Member(path, info.file_size, lambda info=info: file.open(info))  # type: ignore[misc]


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        if info.isdir():
            _safe(archive, info.name)
            continue
        if not info.isreg() or info.issparse():
            raise _refused(archive, info.name, "a link, a device or a sparse file")
        path = _safe(archive, info.name)
        if path is not None:
            yield Member(path, info.size, lambda info=info: file.extractfile(info))  # type: ignore[misc, arg-type]


def _safe(archive: Path, name: str) -> str | None:
    """The path of a member below the folder, with slashes; None for what file managers leave in archives."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if len(name) > MAX_PATH:
        raise _refused(archive, f"{name[:80]}...", f"a name of {len(name):,} characters")
    if name.startswith(("/", "\\")) or ".." in parts or not parts or any(map(_odd, parts)):
        if name.strip("./") == "" and ".." not in name and not name.startswith("/"):
            return None  # the folder itself
        raise _refused(archive, name, "a name that leads out of the folder or that not every system can write")
    if any(part in JUNK or part.startswith("._") for part in parts):
        return None
    return unicodedata.normalize("NFC", "/".join(parts))


def _odd(part: str) -> bool:
    return (
        ":" in part
        or part.endswith((" ", "."))
        or len(part.encode(errors="replace")) > 255
        or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202a\u202b\u202d\u202e" for c in part)
    )


def _key(path: str) -> str:
    """Equal for names that a file system that ignores case, or normalises Unicode, takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _write(archive: Path, member: Member, path: Path) -> None:
    part = path.with_name(f".{path.name[:200]}.part")
    try:
        source = member.open()
    except (*DAMAGE, OSError) as error:  # of the system where a member begins before its archive
        raise _damaged(archive, error) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with source, open(part, "wb") as target:
                shutil.copyfileobj(source, target, 2**20)
            if part.stat().st_size != member.size:
                raise EOFError(f"'{member.path}' is cut off")
        except DAMAGE as error:
            raise _damaged(archive, error) from error
        except OSError as error:
            if error.errno is None:  # not of the system: this is how bz2 says that its data are damaged
                raise _damaged(archive, error) from error
            raise
        os.replace(part, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _size(path: Path) -> int:
    """Of a plain file; -1 where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _refused(archive: Path, name: str, what: str) -> HashzooError:
    shown = name.encode("unicode_escape").decode()
    return HashzooError(f"{archive} holds '{shown}', {what}; get it anew, or unpack it yourself and give the folder")


def _damaged(archive: Path, error: BaseException) -> HashzooError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return HashzooError(f"{archive} is no readable zip or tar ({reason}); get it anew")


class Source:
    """Files of a data set, found by name in what the user gave.

    Args:
        path: a folder (of unpacked files, of archives, or of both), or one archive.
        into: where archives are unpacked; what an earlier call unpacked there counts too.
        archives: names of the archives that belong to the data set, as its site spells them. They are unpacked one
            after the other when something is not found without them.
    """

    def __init__(self, path: Path, into: Path, archives: Sequence[str] = ()):
        self.path, self._into = path, into
        if path.is_dir():
            there = {entry.name.lower(): entry for entry in sorted(path.iterdir()) if entry.is_file()}
            self._packed = [there[name.lower()] for name in archives if name.lower() in there]
        elif is_archive(path):
            self._packed = [path]
        else:
            raise HashzooError(f"{path} is neither a folder nor a zip or tar; give the folder that holds the files")
        self._folders: list[Path] = []
        self._look()

    def find(self, *names: str) -> Path | None:
        """The first file or folder of one of the names ("meta/tags": below any folder), the shallowest if several."""
        while True:
            for name in names:
                for folder in self._folders:
                    if (folder / name).exists():
                        return folder / name
            if not self._packed:
                return None
            unpack(self._packed.pop(0), self._into)
            self._look()

    def _look(self) -> None:
        roots = [root for root in (self.path, self._into) if root.is_dir()]
        self._folders = [
            Path(folder)
            for root in roots
            for folder in sorted((name for name, _, _ in os.walk(root)), key=lambda name: (name.count(os.sep), name))
        ]


def listing(root: Path) -> set[str]:
    """Every file below a folder, as paths relative to it with slashes."""
    found: set[str] = set()
    for folder, _, files in os.walk(root):
        place = Path(folder).relative_to(root).as_posix()
        found.update(files if place == "." else (f"{place}/{name}" for name in files))
    return found


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file without their ends (of any system) and without a byte order mark.

    Bytes that do not fit the encoding become U+FFFD: tags come from everywhere.
    """
    try:
        text = path.read_bytes().decode(encoding, errors="replace")
    except OSError as error:
        raise HashzooError(f"{path} cannot be read ({error.strerror or error}); put it there and try again") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
