"""Where `emoji` comes from: vendors, licences, and the pinned npm packages."""

from __future__ import annotations

from dataclasses import dataclass

from hashzoo.data.npm import Package


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
# Names, tags and groups; further keywords.
WORDS = {
    "emojibase": Package(
        "emojibase-data",
        "17.0.0",
        "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    ),
    "emojilib": Package(
        "emojilib",
        "4.0.3",
        "sha512-KbWiYre9aRSaPbHrHZIz9zmoM+21LAsK1VFJtnTh1VCtWE/rNMDviGhQTmselFl95dhqtGlY22iH0leG5BuW0g==",
    ),
}


def packages(variant: str) -> list[Package]:
    """What a variant is made of."""
    return [*WORDS.values(), *(VENDORS[vendor].package for vendor in VARIANTS[variant])]


def notices(variant: str) -> str:
    """Authors, licences (SPDX names, with their texts' addresses) and packages: the attribution that CC BY asks for."""
    emojibase, emojilib = WORDS["emojibase"], WORDS["emojilib"]
    drawings = [
        f"{vendor.title} by {vendor.author} ({vendor.source}), licence {vendor.licence} "
        f"(https://spdx.org/licenses/{vendor.licence}.html), from {vendor.package.name} {vendor.package.version}, "
        f"rendered to pixels"
        for vendor in map(VENDORS.__getitem__, VARIANTS[variant])
    ]
    words = [
        f"Names, tags and groups: emojibase by Miles Johnson (https://emojibase.dev), licence MIT "
        f"(https://spdx.org/licenses/MIT.html), from {emojibase.name} {emojibase.version}, with data of Unicode CLDR, "
        f"licence Unicode-3.0 (https://spdx.org/licenses/Unicode-3.0.html)",
        f"Keywords: emojilib by Mu-An Chiou (https://github.com/muan/emojilib), licence MIT "
        f"(https://spdx.org/licenses/MIT.html), from {emojilib.name} {emojilib.version}",
    ]
    return "\n".join([*(f"Drawings: {drawing}" for drawing in drawings), *words])
