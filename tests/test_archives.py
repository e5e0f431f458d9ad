"""Archives: what is safe is unpacked whole and resumed, what is not is refused before a byte is written."""

from __future__ import annotations

import io
import random
import shutil
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from hashzoo.data import archives
from hashzoo.data.archives import Source, listing, read_lines, unpack
from hashzoo.errors import HashzooError

FILES = {"set/a/1.txt": b"one", "set/a/2.txt": b"two" * 1000, "set/\u00fc\u2603.txt": b""}


def make_zip(path: Path, files: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("set")
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz", **attributes: object) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(params=["zip", "tar", "tar.gz", "tgz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"set.{request.param}"
    if request.param == "zip":
        return make_zip(path, FILES)
    return make_tar(path, FILES, "w" if request.param == "tar" else "w:gz")


def refusal(path: Path, into: Path) -> str:
    with pytest.raises(HashzooError) as caught:
        unpack(path, into)
    assert "\n" not in str(caught.value)
    assert not into.exists() or not listing(into)
    return str(caught.value)


def test_every_kind_comes_out_as_it_went_in(archive, tmp_path):
    unpack(archive, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in listing(tmp_path / "out")} == FILES


def test_what_is_there_with_its_size_is_kept(archive, tmp_path):
    out = tmp_path / "out"
    unpack(archive, out)
    (out / "set/a/1.txt").write_bytes(b"ONE")
    (out / "set/a/2.txt").write_bytes(b"cut")
    unpack(archive, out)
    assert (out / "set/a/1.txt").read_bytes() == b"ONE"
    assert (out / "set/a/2.txt").read_bytes() == FILES["set/a/2.txt"]


def test_a_killed_run_leaves_whole_files_alone(archive, tmp_path, monkeypatch):
    def killed(source: io.BytesIO, target: io.BytesIO, length: int) -> None:
        target.write(source.read(2))
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(archives.shutil, "copyfileobj", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out)
    assert listing(out) == set()
    monkeypatch.undo()
    unpack(archive, out)
    assert listing(out) == set(FILES)


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "set/../../out.txt",
        "/etc/x",
        "C:/x",
        "set\\..\\..\\x",
        "a\nb",
        "a\u202egpj.exe",
        "x" * 256,
        "a./b",
    ],
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_elsewhere_are_refused(name, make, tmp_path):
    said = refusal(make(tmp_path / "bad", {"set/good.txt": b"x", name: b"x"}), tmp_path / "out")
    assert "a name that leads out of the folder or that not every system can write" in said


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_two_names_that_some_systems_take_for_one_are_refused(make, tmp_path):
    for names in (("Im1.jpg", "im1.JPG"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("\ufb01", "fi")):
        said = refusal(make(tmp_path / "bad", dict.fromkeys(names, b"x")), tmp_path / "out")
        assert "one name on some file systems" in said
    assert "both as a file and as a folder" in refusal(make(tmp_path / "bad", {"a": b"", "A/b": b""}), tmp_path / "out")
    assert "both as a file and as a folder" in refusal(
        make(tmp_path / "bad", {"a/b/c": b"", "a": b""}), tmp_path / "out"
    )


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_are_refused(kind, tmp_path):
    make_tar(tmp_path / "bad.tar", {"set/link": b""}, "w", type=kind, linkname="/etc/passwd")
    assert "set/link" in refusal(tmp_path / "bad.tar", tmp_path / "out")
    make_zip(tmp_path / "bad.zip", {"set/link": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert "a link or a device" in refusal(tmp_path / "bad.zip", tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused(make, tmp_path, monkeypatch):
    path = make(tmp_path / "bomb", {f"{n}.txt": bytes(100_000) for n in range(20)})
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    assert "would unpack to more than hashzoo writes" in refusal(path, tmp_path / "out")
    monkeypatch.setattr(archives, "FREE_BYTES", 2**30)
    monkeypatch.setattr(archives, "MAX_BYTES", 10**6)
    assert "by file 11" in refusal(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_BYTES", 2**30)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    assert "by file 6" in refusal(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    unpack(path, tmp_path / "out")
    assert len(listing(tmp_path / "out")) == 20


def test_damaged_archives_are_refused_and_leave_no_half_file(archive, tmp_path):
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(HashzooError, match="is no readable zip or tar"):
        unpack(archive, tmp_path / "out")
    assert all(len((tmp_path / "out" / name).read_bytes()) == len(FILES[name]) for name in listing(tmp_path / "out"))
    archive.write_bytes(b"nothing of the kind")
    assert "is no readable zip or tar" in refusal(archive, tmp_path / "empty")
    with pytest.raises(HashzooError, match="cannot be read"):
        unpack(tmp_path / "absent.zip", tmp_path / "empty")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_data_that_cannot_be_unpacked_are_damage(kind, tmp_path):
    """Each of the three packers has an exception of its own."""
    chance = random.Random(0)
    files = {f"{n}.txt": chance.randbytes(3000) for n in range(4)}
    whole = make_tar(tmp_path / "whole", files, f"w:{kind}").read_bytes()
    path = tmp_path / "set.tar"
    said = set()
    for place in range(0, len(whole), 53):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            unpack(path, tmp_path / "out")
        except HashzooError as error:
            said.add(str(error).partition("(")[0])
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert said == {f"{path} is no readable zip or tar "}


def test_a_member_that_begins_before_its_archive_is_damage(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a.txt": b"a"})
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x05\x06") + 16  # where the list of members is said to be
    content[at : at + 4] = (int.from_bytes(content[at : at + 4], "little") + 100).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(HashzooError, match="is no readable zip or tar"):
        unpack(path, tmp_path / "out")
    assert not [one for one in tmp_path.rglob("*") if one.is_file() and one != path]


def test_a_path_that_no_system_writes_is_refused_at_once(tmp_path):
    path = make_tar(tmp_path / "deep.tar", {"a/" * 100_000 + "b": b""}, "w")
    tracemalloc.start()
    assert "a name of 200,001 characters" in refusal(path, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_wrong_checksum_inside_a_zip_is_damage(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", "content")
    path.write_bytes(path.read_bytes().replace(b"content", b"contemt", 1))
    assert "Bad CRC-32" in refusal(path, tmp_path / "out")


def test_encrypted_archives_are_refused(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"a.txt": b"x"})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "is encrypted" in refusal(path, tmp_path / "out")


def test_what_file_managers_leave_is_left_out(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"a.txt": b"x", "__MACOSX/a.txt": b"x", "b/._c": b"x", "b/.DS_Store": b"x"})
    unpack(path, tmp_path / "out")
    assert listing(tmp_path / "out") == {"a.txt"}


def test_a_source_unpacks_only_what_it_needs(tmp_path):
    folder = tmp_path / "mine"
    (folder / "deep/tags").mkdir(parents=True)
    make_zip(folder / "IMAGES.zip", {"set/im1.jpg": b"x"})
    make_zip(folder / "other.zip", {"set/labels.txt": b"x"})
    files = Source(folder, tmp_path / "out", ["images.zip", "absent.zip"])
    assert files.find("tags") == folder / "deep/tags"
    assert not (tmp_path / "out").exists()
    assert files.find("im1.jpg", "im2.jpg") == tmp_path / "out/set/im1.jpg"
    assert files.find("labels.txt") is None
    assert Source(folder / "other.zip", tmp_path / "out").find("labels.txt") == tmp_path / "out/set/labels.txt"
    with pytest.raises(HashzooError, match="is neither a folder nor a zip or tar"):
        Source(tmp_path / "out/set/im1.jpg", tmp_path / "out")


def test_lines_end_as_on_any_system(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "tags.txt").write_bytes(f"\ufeffsky{end}\u96ea{end}".encode())
        assert read_lines(tmp_path / "tags.txt") == ["sky", "\u96ea"]
    (tmp_path / "tags.txt").write_bytes(b"caf\xe9")
    assert read_lines(tmp_path / "tags.txt") == ["caf\ufffd"]
    assert read_lines(tmp_path / "tags.txt", "cp1252") == ["caf\u00e9"]
    with pytest.raises(HashzooError, match="cannot be read"):
        read_lines(tmp_path / "absent.txt")
