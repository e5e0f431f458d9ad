"""A table in one file: equal bytes, no path of the machine; what a stranger sends is checked, and cannot harm."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.benches.records import DESCRIPTION, key_of
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.report import bundle, collect
from hashzoo.report.bundle import Shortened, write_bundle
from hashzoo.report.bundled import unpacked
from hashzoo.storage.files import digest, read_arrays, read_json, write_arrays, write_json

SECRET = "of-my-machine"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Where the first test that needs runs leaves them for the others."""
    return tmp_path_factory.mktemp("trained") / "runs"


@pytest.fixture
def runs(tiny, trained) -> Path:
    if trained.exists():
        return Path(shutil.copytree(trained, "runs"))
    common = {"dataset": "scenes", "encoders": "tiny+bow", "threads": 1}
    bench(["toy", "fragile"], [16, 32], settings=SMALL, **common)
    bench(["toy"], [8], settings=SMALL, stream=Stream(chunk=40, database_codes="recomputed"), **common)
    shutil.copytree("runs", trained)
    return Path("runs")


def packed(runs: Path, name: str = "out.zip") -> Path:
    write_bundle(collect(runs), Path(name))
    return Path(name)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repack(path: Path, files: dict[str, bytes], listed: bool = True) -> Path:
    """A bundle of other files; with a list that fits them unless asked otherwise."""
    if listed:
        about = json.loads(files["bundle.json"])
        names = [name for name in files if name not in ("bundle.json", "README.md")]
        about["files"] = {n: {"bytes": len(files[n]), "sha256": digest(files[n])} for n in names}
        files = files | {"bundle.json": json.dumps(about).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def refusal(path: Path) -> str:
    with tempfile.TemporaryDirectory() as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", own)
        with pytest.raises(HashzooError) as caught, unpacked(path):
            pass
        assert not list(Path(own).iterdir())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_holds_the_tables_and_is_checked(runs, command):
    shown = command("report", runs, "--md").out
    outcome = command("report", "--bundle", "out.zip")
    assert (outcome.code, outcome.out) == (0, "out.zip\n")
    assert "packed 8 runs, " in outcome.err
    files = entries(Path("out.zip"))
    assert [name for name in files if name.endswith(".safetensors")] == []
    assert shown.splitlines()[3] in files["README.md"].decode()
    assert "torch" in files["README.md"].decode()
    shutil.rmtree(runs)
    outcome = command("report", "out.zip", "--md")
    assert (outcome.code, outcome.out) == (0, shown)
    assert "hashzoo: checked out.zip: 8 runs (1 of them failed); " in outcome.err
    found = json.loads(command("report", "out.zip", "--json").out)
    run = found["tracks"][0]["results"][0]["run"]
    assert run.startswith("out.zip/runs/scenes-")
    assert command("report", "out.zip", "--pivot", "trainer.epochs", "--json").code == 0
    assert command("report", "out.zip", "--csv").out.count("out.zip/runs/") == 8


def test_a_run_of_a_bundle_is_repeated(runs, command):
    path = packed(runs)
    zipfile.ZipFile(path).extractall("unpacked")
    run = next(Path("unpacked/runs").glob("*/toy/*-16-*"))
    assert "all 3,200 bits are the same" in command("bench", "--from", run).out


def test_equal_runs_give_equal_bytes(runs):
    first = packed(runs).read_bytes()
    moved = shutil.copytree(runs, "else/where")
    Path("again").mkdir()
    assert packed(Path(moved), "again/out.zip").read_bytes() == first


def test_no_path_of_the_machine_is_in_it(runs, tmp_path):
    place = tmp_path / SECRET / "some where"
    run = next(runs.glob("*/toy/*-16-*"))
    about = read_json(run / "run.json")
    about["settings"]["image.weights"] = {"value": str(place / "w.safetensors"), "origin": "user"}
    about["encoders"]["image"] = {"name": f"archive:{place}", "card": {"from": [f"~/{SECRET}/x"]}}
    about["key"] = key_of({name: about[name] for name in DESCRIPTION})
    write_json(run / "run.json", about)
    result = read_json(run / "result.json")
    result |= {"key": about["key"], "encoders": {"image": f"archive:{place}", "text": "bow"}}
    result["settings"] = {"image.weights": str(place / "w.safetensors")}
    write_json(run / "result.json", result)
    run = run.rename(run.with_name(f"archive-{str(place).replace('/', '-')}+bow-16-s0-{about['key'][:8]}"))
    opened = run.parents[1] / "dataset.json"
    write_json(opened, read_json(opened) | {"name": f"table:{place}/photos.csv", "settings": [f"dataset.x={place}"]})
    floor = next(runs.glob("*/random/*-16-*"))
    (floor / "result.json").unlink()
    (floor / "error.txt").write_text(f"OSError: '{place.parent}/a.png' is no picture\n\nTraceback in {place}\n")
    path = packed(Path("runs"))
    inside = b"".join(name.encode() + content for name, content in entries(path).items())
    for word in (SECRET, str(tmp_path), str(Path.home()) + "/", os.path.realpath(".")):
        assert word.encode() not in inside, word
    assert b"table:photos.csv" in inside
    with unpacked(path) as (folder, checked):
        assert (checked.runs, checked.failed) == (8, 2)
        assert list(folder.glob(f"*/toy/archive-some-where+bow-16-s0-{about['key'][:8]}"))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/me/photos.csv", "photos.csv"),
        ("table:/home/me/my photos.csv", "table:my photos.csv"),
        ("dataset.pictures=/home/me/pictures", "dataset.pictures=pictures"),
        ("timm:local-dir:~/models/m", "timm:local-dir:m"),
        (r"C:\Users\me\x.csv", "x.csv"),
        ("OSError: '/home/me/a.png' is gone (/tmp/b/c)", "OSError: 'a.png' is gone (c)"),
        ("clip:ViT-B-32/openai", "clip:ViT-B-32/openai"),
        ("emoji/full", "emoji/full"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("An image of {}, drawn.", "An image of {}, drawn."),
        ("and/or", "and/or"),
        ("/", "/"),
        ("1 / 2", "1 / 2"),
    ],
)
def test_of_a_path_its_last_part_stays(text, short):
    made = Shortened()
    assert made.text(text) == short
    assert bool(made.count) == (text != short)
    assert Shortened().text(short) == short


def test_a_bundle_has_a_largest_size(runs, monkeypatch, sentence):
    monkeypatch.setattr(bundle, "MOST_BYTES", 20_000)
    said = sentence("report", "--bundle", "out.zip")
    assert "these runs would make a bundle of" in said
    assert "move some of the runs to another folder, and name it with --runs" in said
    assert not Path("out.zip").exists()


def test_forms_that_exclude_each_other(runs, sentence):
    assert "--bundle packs all tables" in sentence("report", "--bundle", "out.zip", "--md")
    assert "both name runs" in sentence("report", "x.zip", "--runs", "runs")


def forged(files: dict[str, bytes], what: str) -> dict[str, bytes]:
    """A bundle in which one thing was changed, with keys and digests that fit it."""
    at = next(name.removesuffix("/result.json") for name in files if "/toy/" in name and name.endswith("result.json"))
    track = at.rpartition("/")[0].rpartition("/")[0]
    result, asked = json.loads(files[f"{at}/result.json"]), json.loads(files[f"{at}/run.json"])
    Path("forge").mkdir(exist_ok=True)

    def arrays(name, change):
        Path("forge/x.npz").write_bytes(files[f"{at}/{name}"])
        content = read_arrays(Path("forge/x.npz"))
        change(content)
        write_arrays(Path("forge/x.npz"), content)
        return Path("forge/x.npz").read_bytes()

    if what == "map":
        result["scores"]["t2i"]["map"] += 1e-6
    elif what == "curve":
        result["scores"]["i2t"]["pr_curve_rank"]["recall_macro"][3] += 0.01
    elif what == "floor":
        result["floor"] -= 0.1
    elif what == "health":
        result["health"]["text"]["constant_bits"] += 1
    elif what == "missing":
        del result["scores"]["i2t"]["mrr"]
    elif what == "seed":
        asked["seed"] = 1
    elif what == "bits":
        result["bits"] = 24
    elif what == "code":
        files[f"{at}/codes.npz"] = arrays("codes.npz", lambda c: c["image_query.data"].__ixor__(1))
        result.pop("files", None)
    elif what == "rows":
        files[f"{at}/codes.npz"] = arrays(
            "codes.npz", lambda c: c.update({"text_query.data": c["text_query.data"][:-1]})
        )
        result.pop("files", None)
    elif what == "precision":
        files[f"{at}/per_query.npz"] = arrays("per_query.npz", lambda c: c["i2t"].__iadd__(0.001))
        result.pop("files", None)
    elif what == "log":
        files[f"{at}/train.jsonl"] = b"{}\n"
    elif what == "labels":
        Path("forge/x.npz").write_bytes(files[f"{track}/labels.npz"])
        labels = read_arrays(Path("forge/x.npz"))
        labels["query"] = labels["query"][::-1]
        write_arrays(Path("forge/x.npz"), labels)
        files[f"{track}/labels.npz"] = Path("forge/x.npz").read_bytes()
    elif what == "track":
        asked["track"]["fingerprint"] = "0"
        asked["key"] = key_of({name: asked[name] for name in DESCRIPTION})
    files[f"{at}/result.json"] = json.dumps(result).encode()
    files[f"{at}/run.json"] = json.dumps(asked).encode()
    return files


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("map", "the recorded scores.t2i.map is "),
        ("curve", "the recorded scores.i2t.pr_curve_rank.recall_macro.3 is "),
        ("floor", "the recorded floor is "),
        ("health", "the recorded health.text.constant_bits is "),
        ("missing", "its result has no scores.i2t.mrr; it was scored by another version of hashzoo"),
        ("seed", "the key in run.json is not that of what it holds"),
        ("bits", "result.json and run.json are of different runs"),
        ("code", "the recorded scores.i2t.map is "),
        ("rows", "codes.npz does not hold 20 codes 'text_query' of 16 bits"),
        ("precision", "the i2t precisions in per_query.npz are not those of its codes"),
        ("log", "train.jsonl is not the file that the run wrote"),
        ("labels", "the recorded scores.i2t.map is "),
        ("track", "it is of another track than its folder"),
    ],
)
def test_a_bundle_that_does_not_hold(what, said, runs):
    files = forged(entries(packed(runs)), what)
    found = refusal(repack(Path("forged.zip"), files))
    assert found.startswith("forged.zip does not hold: runs/scenes-")
    assert said in found


def test_a_file_that_is_not_listed_or_is_another(runs):
    files = entries(packed(runs))
    name = next(name for name in files if name.endswith("train.jsonl"))
    assert f"it lacks {name}" in refusal(repack(Path("a.zip"), {n: c for n, c in files.items() if n != name}, False))
    assert "it has, and does not list, more.txt" in refusal(repack(Path("b.zip"), files | {"more.txt": b""}, False))
    assert f"{name} is not the file that" in refusal(repack(Path("c.zip"), files | {name: b"{}\n"}, False))


def test_what_could_harm_is_refused_before_a_byte_is_written(runs, monkeypatch):
    files = entries(packed(runs))
    for name in ("../out.txt", "/etc/out.txt", "runs\\..\\..\\x", "C:x"):
        assert "leads out of the folder" in refusal(repack(Path("a.zip"), files | {name: b""}))
    with zipfile.ZipFile("link.zip", "w") as archive:
        archive.writestr("bundle.json", b"")
        link = zipfile.ZipInfo("runs")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    assert "a link or a device" in refusal(Path("link.zip"))
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", b"")
        for number in range(9):
            archive.writestr(f"runs/{number}", bytes(2**20))
    with monkeypatch.context() as patch:
        patch.setattr("hashzoo.report.bundled.MOST_BYTES", 2**23)
        assert "would unpack to more than hashzoo writes" in refusal(Path("bomb.zip"))
    with zipfile.ZipFile("many.zip", "w") as archive:
        archive.writestr("bundle.json", b"")
        for number in range(20_000):
            archive.writestr(f"{number}", b"")
    assert "would unpack to more than hashzoo writes" in refusal(Path("many.zip"))
    # A list of entries of 4 GB, as the end of the file says: it is refused without being read.
    Path("liar.zip").write_bytes(b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 9, 9, 2**32 - 9, 0, 0))
    assert "larger, or has more entries, than a bundle may" in refusal(Path("liar.zip"))
    inside = io.BytesIO()
    np.savez_compressed(inside, **{"image_query.data": np.zeros((10**7, 2), np.uint8), "image_query.bits": 16})
    name = next(name for name in files if name.endswith("codes.npz"))
    run = name.removesuffix("codes.npz") + "result.json"
    result = json.loads(files[run])
    result.pop("files", None)
    bomb = files | {name: inside.getvalue(), run: json.dumps(result).encode()}
    assert "is compressed, which hashzoo does not do" in refusal(repack(Path("inner.zip"), bomb))


def test_a_file_cut_off_anywhere_is_one_sentence(runs):
    whole = packed(runs).read_bytes()
    for length in range(0, len(whole), 1 + len(whole) // 40):
        Path("cut.zip").write_bytes(whole[:length])
        assert "cut.zip" in refusal(Path("cut.zip"))


def test_a_list_of_entries_that_is_damaged_is_one_sentence(runs, sentence):
    whole = packed(runs).read_bytes()
    begin = struct.unpack("<L", whole[whole.rfind(b"PK\x05\x06") + 16 :][:4])[0]
    Path("x.zip").write_bytes(whole[:begin] + b"\xff" + whole[begin + 1 :])
    assert "x.zip cannot be read as a zip (BadZipFile: " in sentence("report", "x.zip")


def test_a_bundle_is_not_packed_again(runs, sentence):
    """Of paths that were shortened in it, a second one would not say so."""
    assert f"{packed(runs)} is a bundle already; copy it as it is" in sentence("report", "out.zip", "--bundle", "b.zip")
    assert not Path("b.zip").exists()


def test_what_is_no_bundle(runs, sentence):
    Path("x.txt").write_text("no zip")
    assert "x.txt is neither a runs folder nor a bundle" in sentence("report", "x.txt")
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("a", b"")
    assert "x.zip has no bundle.json, so that it is no bundle of hashzoo report" in sentence("report", "x.zip")
    with zipfile.ZipFile("y.zip", "w") as archive:
        archive.writestr("bundle.json", b'{"schema": 1, "shortened": [], "files": {}}')
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.writestr("bundle.json", b"no JSON")
    said = refusal(Path("z.zip"))
    assert said.startswith("z.zip does not hold: bundle.json cannot be read as JSON (Expecting value: ")
    assert said.endswith("; bundle.json must be whole; ask for it again, or leave it")
    assert refusal(Path("y.zip")) == "y.zip does not hold: it holds no run; ask for it again, or leave it"


def test_an_evaluation_that_would_take_days_is_refused(runs, monkeypatch):
    monkeypatch.setattr("hashzoo.report.bundled.MOST_PAIRS", 1000)
    assert "its runs compare 12,800 pairs of rows, over 1,000" in refusal(packed(runs))
