"""`emoji`: one row per emoji and vendor, its drawing, a caption and labels; pictures come from npm packages."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from hashzoo.data import emoji_rows
from hashzoo.data.base import Dataset, Splits
from hashzoo.data.npm import Package, fetch, read_json_members
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.progress import progress
from hashzoo.storage import atomic_write, cache_dir, digest, read_json, write_json

RECIPE = 1  # raised when the code below, or emoji_rows, makes other rows of the same packages
SIZES = range(16, 513)
OTHERWISE = "or use --dataset scenes, which needs no network"
SPLIT_RULE = (
    "by concept: the hash of an emoji, its gender and direction variants counted as one, makes about a quarter of "
    "the concepts query; train and database are all other rows"
)


@dataclass(frozen=True)
class Vendor:
    """Who drew a set of emoji, and under which licence (SPDX name)."""

    title: str
    author: str
    source: str
    licence: str
    package: Package


def _icons(name: str, version: str, integrity: str) -> Package:
    return Package(f"@iconify-json/{name}", version, f"sha512-{integrity}")


VENDORS = {
    "noto": Vendor(
        "Noto Emoji",
        "Google",
        "https://github.com/googlefonts/noto-emoji",
        "Apache-2.0",
        _icons(
            "noto",
            "1.2.9",
            "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        ),
    ),
    "fluent-emoji-flat": Vendor(
        "Fluent Emoji Flat",
        "Microsoft",
        "https://github.com/microsoft/fluentui-emoji",
        "MIT",
        _icons(
            "fluent-emoji-flat",
            "1.2.6",
            "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        ),
    ),
    "twemoji": Vendor(
        "Twemoji",
        "Twitter and other contributors",
        "https://github.com/jdecked/twemoji",
        "CC-BY-4.0",
        _icons(
            "twemoji",
            "1.2.5",
            "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        ),
    ),
    "openmoji": Vendor(
        "OpenMoji",
        "OpenMoji, the open-source emoji and icon project",
        "https://openmoji.org",
        "CC-BY-SA-4.0",
        _icons(
            "openmoji",
            "1.2.29",
            "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        ),
    ),
    "fluent-emoji": Vendor(
        "Fluent Emoji",
        "Microsoft",
        "https://github.com/microsoft/fluentui-emoji",
        "MIT",
        _icons(
            "fluent-emoji",
            "1.2.7",
            "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        ),
    ),
    "noto-v1": Vendor(
        "Noto Emoji (version 1)",
        "Google",
        "https://github.com/googlefonts/noto-emoji",
        "Apache-2.0",
        _icons(
            "noto-v1",
            "1.2.5",
            "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        ),
    ),
    "emojione": Vendor(
        "Emoji One (version 2)",
        "Emoji One",
        "https://github.com/EmojiTwo/emojitwo",
        "CC-BY-4.0",
        _icons(
            "emojione",
            "1.2.3",
            "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        ),
    ),
    "emojione-v1": Vendor(
        "Emoji One (version 1)",
        "Emoji One",
        "https://github.com/joypixels/emojione-legacy",
        "CC-BY-SA-4.0",
        _icons(
            "emojione-v1",
            "1.2.3",
            "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
        ),
    ),
    "fxemoji": Vendor(
        "FxEmojis",
        "Mozilla",
        "https://github.com/mozilla/fxemoji",
        "Apache-2.0",
        _icons(
            "fxemoji",
            "1.2.2",
            "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        ),
    ),
}
VARIANTS = {"": ("noto", "fluent-emoji-flat", "twemoji"), "full": tuple(VENDORS)}
# Names, tags, groups; and further keywords.
EMOJIBASE = Package(
    "emojibase-data",
    "17.0.0",
    "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)
EMOJILIB = Package(
    "emojilib",
    "4.0.3",
    "sha512-KbWiYre9aRSaPbHrHZIz9zmoM+21LAsK1VFJtnTh1VCtWE/rNMDviGhQTmselFl95dhqtGlY22iH0leG5BuW0g==",
)


class Emoji(Dataset):
    """The same things drawn by three vendors (nine in variant "full"), with captions and about 50 labels.

    Opening it prepares it (npm downloads the pinned packages, the drawings are rendered) unless the cache
    has it. Settings: `variant`, "" or "full"; `size`, the side of the stored square pictures in pixels.

    Attributes, beside those of every data set:
        concepts: (N,) int64; rows of one concept (one emoji, or gender variants of one) have one number.
        emoji: N code point sequences ("1F9D1-200D-1F33E").
        vendors: N vendor names, keys of `VENDORS`.
    """

    def __init__(self, variant: str = "", size: int = 128):
        _check_settings(variant, size)
        self.variant, self.size = variant, size
        self.name = _name(variant)
        self._folder = _folder(variant, size)
        if not (self._folder / "meta.json").exists():
            self.prepare(variant=variant, size=size)
        self._meta = read_json(self._folder / "meta.json")
        for file, recorded in self._meta["files"].items():
            path = self._folder / file
            if not path.exists() or path.stat().st_size != recorded["bytes"]:
                raise self._damaged(path)
        self._images = np.load(self._folder / "images.npy", mmap_mode="r", allow_pickle=False)
        rows = read_json(self._folder / "rows.json")
        self._texts: list[str] = rows["texts"]
        self.classes = tuple(rows["classes"])
        self.emoji = tuple(rows["emoji"])
        self.vendors = tuple(rows["vendors"])
        self.labels = np.zeros((len(self._texts), len(self.classes)), dtype=np.bool_)
        for row, columns in enumerate(rows["labels"]):
            self.labels[row, columns] = True
        _, first, self.concepts = np.unique(rows["concepts"], return_index=True, return_inverse=True)
        is_query = np.array([emoji_rows.is_query(rows["concepts"][row]) for row in first])[self.concepts]
        rest = np.flatnonzero(~is_query)
        self.splits = Splits(train=rest, query=np.flatnonzero(is_query), database=rest, rule=SPLIT_RULE)
        self.licence = _notices(variant)

    def image(self, row: int) -> Image.Image:
        return Image.fromarray(np.asarray(self._images[row]))

    def text(self, row: int) -> str:
        return self._texts[row]

    def fingerprint(self) -> str:
        return self._meta["fingerprint"]

    def verify(self) -> None:
        """Read every byte of the cache; raise a sentence that names the file that changed since preparation."""
        for file, recorded in self._meta["files"].items():
            path = self._folder / file
            with open(path, "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != recorded["sha256"]:
                    raise self._damaged(path)

    @classmethod
    def prepare(cls, variant: str = "", size: int = 128) -> None:  # type: ignore[override]
        """Download, render and store; what is there and intact stays, so that a killed run is resumed."""
        _check_settings(variant, size)
        folder = _folder(variant, size)
        downloads = folder.parent / "npm"
        with _alone(folder.parent):
            if (folder / "meta.json").exists():
                with contextlib.suppress(HashzooError):
                    return cls(variant, size).verify()
                (folder / "meta.json").unlink()
            for left_over in folder.glob(".*.part"):
                left_over.unlink()
            fetch(_packages(variant), downloads, otherwise=OTHERWISE)
            _build(variant, size, downloads, folder)

    def _damaged(self, path: Path) -> HashzooError:
        size = "" if self.size == 128 else f" --set dataset.size={self.size}"
        return HashzooError(
            f"{path} is not what was stored for '{self.name}': type hashzoo datasets prepare {self.name}{size}",
            exit_code=1,
        )


def _build(variant: str, size: int, downloads: Path, folder: Path) -> None:
    """Write images.npy and rows.json, then meta.json, whose presence means that the data set is complete."""
    entries, drawings = _collect(variant, size, downloads)
    rows: dict[str, Any] = {
        "classes": list(emoji_rows.vocabulary()["labels"]),
        "emoji": [entry.hexcode for entry, _ in entries],
        "vendors": [vendor for _, vendor in entries],
        "concepts": [entry.concept for entry, _ in entries],
        "labels": [list(entry.labels) for entry, _ in entries],
        "texts": [emoji_rows.caption(entry, vendor) for entry, vendor in entries],
    }
    write_json(folder / "rows.json", rows)
    pixels = hashlib.sha256()
    with (
        atomic_write(folder / "images.npy") as file,
        progress(f"Rendering {_name(variant)}", len(drawings), "images") as advance,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(drawings), size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for picture in _render(drawings):
            file.write(picture)
            pixels.update(picture)
            advance(1)
    write_json(
        folder / "meta.json",
        {
            "fingerprint": fingerprint(pixels.hexdigest(), rows["texts"], rows["classes"], rows["labels"]),
            "files": {name: _record(folder / name) for name in ("images.npy", "rows.json")},
            "recipe": _recipe(variant, size),
        },
    )


def fingerprint(pixels: str, texts: list[str], classes: list[str], labels: list[list[int]]) -> str:
    """Digest of the content: SHA-256 of all pixels, the texts, the class names, the label columns of each row."""
    return digest({"pixels": pixels, "texts": texts, "classes": classes, "labels": labels})


def _collect(
    variant: str, size: int, downloads: Path
) -> tuple[list[tuple[emoji_rows.Entry, str]], list[str]]:
    """Every (emoji, vendor) that has a label, a caption and a drawing, and the drawings as SVG documents."""
    emojibase, groups = read_json_members(downloads / EMOJIBASE.filename, "en/data.json", "meta/groups.json")
    (emojilib,) = read_json_members(downloads / EMOJILIB.filename, "dist/emoji-en-US.json")
    everything = emoji_rows.entries(emojibase, groups, emojilib)
    found: dict[tuple[str, str], str] = {}
    for vendor in VARIANTS[variant]:
        path = downloads / VENDORS[vendor].package.filename
        icons, chars = read_json_members(path, "icons.json", "chars.json")
        for hexcode, icon in emoji_rows.match_icons(everything, icons, chars).items():
            found[hexcode, vendor] = emoji_rows.svg(icons, icon, size)
    kept = [
        (entry, vendor)
        for entry in everything
        for vendor in VARIANTS[variant]
        if entry.labels and (entry.hexcode, vendor) in found and emoji_rows.caption(entry, vendor)
    ]
    return kept, [found[entry.hexcode, vendor] for entry, vendor in kept]


def _render(drawings: Iterable[str]) -> Iterator[bytes]:
    """RGB bytes of each SVG document on white."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise HashzooError(
            f"drawing emoji needs resvg-py, which is not installed: type pip install resvg-py, {OTHERWISE}", exit_code=1
        ) from None
    for drawing in drawings:
        # Without dpi, documents with lengths in pt or mm are refused.
        png = svg_to_bytes(svg_string=drawing, background="#ffffff", dpi=96.0, skip_system_fonts=True)
        with Image.open(io.BytesIO(png)) as picture:
            yield picture.convert("RGB").tobytes()


def _recipe(variant: str, size: int) -> dict[str, Any]:
    """All that the stored rows depend on."""
    return {
        "recipe": RECIPE,
        "vendors": list(VARIANTS[variant]),
        "size": size,
        "packages": {f"{package.name}@{package.version}": package.integrity for package in _packages(variant)},
        "labels": digest(emoji_rows.vocabulary()),
    }


def _packages(variant: str) -> list[Package]:
    return [EMOJIBASE, EMOJILIB, *(VENDORS[vendor].package for vendor in VARIANTS[variant])]


def _folder(variant: str, size: int) -> Path:
    key = digest(_recipe(variant, size))[:8]
    return cache_dir() / "datasets" / "emoji" / "-".join(part for part in (variant, str(size), key) if part)


def _name(variant: str) -> str:
    return f"emoji/{variant}" if variant else "emoji"


def _check_settings(variant: str, size: int) -> None:
    if variant not in VARIANTS:
        raise HashzooError(f"there is no data set 'emoji/{variant}'; choose emoji (3 vendors) or emoji/full (9 vendors)")
    if isinstance(size, bool) or size not in SIZES:
        raise HashzooError(f"dataset.size must be a whole number from {SIZES[0]} to {SIZES[-1]}, not {size!r}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time prepare; the lock of a killed process is gone with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def _record(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _notices(variant: str) -> str:
    drawings = [
        f"{vendor.title} by {vendor.author} ({vendor.source}), licence {vendor.licence} "
        f"(https://spdx.org/licenses/{vendor.licence}.html), from {vendor.package.name} {vendor.package.version}, "
        f"rendered to pixels"
        for vendor in map(VENDORS.__getitem__, VARIANTS[variant])
    ]
    words = [
        f"Names, tags and groups: emojibase by Miles Johnson (https://emojibase.dev), licence MIT "
        f"(https://spdx.org/licenses/MIT.html), from {EMOJIBASE.name} {EMOJIBASE.version}, with data of Unicode CLDR, "
        f"licence Unicode-3.0 (https://spdx.org/licenses/Unicode-3.0.html)",
        f"Keywords: emojilib by Mu-An Chiou (https://github.com/muan/emojilib), licence MIT "
        f"(https://spdx.org/licenses/MIT.html), from {EMOJILIB.name} {EMOJILIB.version}",
    ]
    return "\n".join([*(f"Drawings: {drawing}" for drawing in drawings), *words])
