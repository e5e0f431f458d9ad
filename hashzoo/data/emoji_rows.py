"""What the rows of `emoji` say: labels, captions, concepts, and which vendor's drawing shows which emoji."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

# Nouns among the label words whose plural is not a suffix.
IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people"}

# Many concepts are single drawings, some are a whole family of them, so a hash may leave a label without queries.
# Of the salts tried, in this one each label has 8 to 40 % of its emoji among the queries; no result was looked at.
SPLIT_SALT = "split 4418"

# Variants of one sign: skin, gender and direction are spelled by these code points in a sequence.
_DROPPED = {"FE0F", "2640", "2642", "27A1"}
_NEUTRAL = {"1F468": "1F9D1", "1F469": "1F9D1", "1F466": "1F9D2", "1F467": "1F9D2"}


@dataclass(frozen=True)
class Entry:
    """One emoji: code points ("1F9D1-200D-1F33E"), CLDR name, keywords, label columns, concept key."""

    hexcode: str
    name: str
    keywords: tuple[str, ...]
    labels: tuple[int, ...]
    concept: str


@functools.cache
def vocabulary() -> dict[str, Any]:
    """The label rules (`emoji_labels.json`).

    A label goes to an emoji whose subgroup starts with one of `subgroups`, whose keywords have one of
    `keywords` (only in the subgroups `within`, where given), whose name has one of `name_words`, or whose
    name is in `also`; never to a name in `except`. `concepts` lists names drawn so alike that they stand on
    one side of the split; `omit` lists keywords that no caption should repeat.
    """
    return json.loads(resources.files("hashzoo.data").joinpath("emoji_labels.json").read_text(encoding="utf-8"))


def entries(
    emojibase: Sequence[Mapping[str, Any]], groups: Mapping[str, Any], emojilib: Mapping[str, Sequence[str]]
) -> list[Entry]:
    """Every base emoji (no skin tones) that emojibase puts in a group; `labels` may be empty."""
    rules = vocabulary()
    # The two sources differ in where they write the variation selector.
    more = {_plain(emoji): words for emoji, words in emojilib.items()}
    alike = {name: f"like {names[0]}" for names in rules["concepts"] for name in names}
    found = []
    for item in emojibase:
        if "group" not in item:
            continue
        name, hexcode = item["label"], item["hexcode"]
        keywords = tuple(dict.fromkeys((*item.get("tags", ()), *more.get(_plain(item["emoji"]), ()))))
        labels: tuple[int, ...] = ()
        if groups["groups"][str(item["group"])] not in rules["drop_groups"]:
            subgroup = groups["subgroups"][str(item["subgroup"])]
            labels = tuple(
                column
                for column, rule in enumerate(rules["labels"].values())
                if _has_label(rule, name, subgroup, keywords)
            )
        found.append(Entry(hexcode, name, keywords, labels, alike.get(name) or concept(hexcode)))
    return found


def concept(hexcode: str) -> str:
    """The key that man, woman and person variants of one sign share, and its two directions."""
    points = [_NEUTRAL.get(point, point) for point in hexcode.split("-") if point not in _DROPPED]
    return "-".join(point for point in points if point != "200D")  # the joiner of what was dropped goes too


def is_query(concept: str) -> bool:
    """Whether a concept's pictures are queries: about a quarter of all concepts, by hash."""
    return _hash(SPLIT_SALT, concept) < 2**256 // 4


def caption(entry: Entry, vendor: str) -> str:
    """Name and half of the keywords (by hash of emoji and vendor), without label words or repeated words.

    The keywords come in the order of the hash, so two vendors of one emoji have different texts where it has
    keywords enough. Empty when the emoji has no word that does not give a label away.
    """
    said = dict.fromkeys(_telling(entry.name))
    usable = {
        keyword: words
        for keyword in entry.keywords
        if keyword not in vocabulary()["omit"]
        and not set(words := _telling(keyword)) <= said.keys()  # empty, or the name once more
    }
    ranked = sorted(usable, key=lambda keyword: _hash(entry.hexcode, vendor, keyword))
    phrases = [list(said)]
    for keyword in ranked[: (len(ranked) + 1) // 2]:
        phrases.append([word for word in dict.fromkeys(usable[keyword]) if word not in said])
        said.update(dict.fromkeys(usable[keyword]))
    return ", ".join(" ".join(phrase) for phrase in phrases if phrase)


def words(text: str) -> list[str]:
    """Lower-case words of letters and digits; single letters are left out."""
    return [word for word in re.findall(r"[^\W_]+", text.casefold()) if len(word) > 1 or word.isdigit()]


@functools.cache
def label_words() -> frozenset[str]:
    """Words that give a label away: those of its name and its triggers, in singular and plural."""
    known: set[str] = set()
    for name, rule in vocabulary()["labels"].items():
        for trigger in (name, *rule.get("keywords", ()), *rule.get("name_words", ())):
            for word in words(trigger):
                known |= _forms(word)
    return frozenset(known)


def match_icons(everything: Iterable[Entry], icons: Mapping[str, Any], chars: Mapping[str, str]) -> dict[str, str]:
    """Icon name by hexcode, in one vendor's `icons.json`.

    By `chars` (hexcode -> icon) where the package fills it; else the icon whose slug is that of the CLDR name,
    then, through the vendor's aliases (older names), one that no emoji has by its own name.
    """
    shown = {name for name, icon in icons["icons"].items() if not icon.get("hidden")}
    if chars:
        by_points = {_points(key): name for key, name in chars.items()}
        pairs = ((entry.hexcode, by_points.get(_points(entry.hexcode))) for entry in everything)
        return {hexcode: name for hexcode, name in pairs if name}
    everything = list(everything)
    direct = {_slug(name): name for name in shown}
    aliases = {_slug(name): name for name in icons.get("aliases", {})}
    found = {entry.hexcode: direct[_slug(entry.name)] for entry in everything if _slug(entry.name) in direct}
    taken = set(found.values())
    for entry in everything:
        alias = aliases.get(_slug(entry.name))
        # "cricket" was once the game: an icon that another emoji already names is not this one's.
        if entry.hexcode not in found and alias and _resolve(icons, alias)[0] not in taken:
            found[entry.hexcode] = alias
    return found


def svg(icons: Mapping[str, Any], name: str, size: int) -> str:
    """The SVG document of an icon, `size` x `size` pixels, centred, aspect ratio kept."""
    name, flipped = _resolve(icons, name)
    icon = icons["icons"][name]
    box = {"left": 0, "top": 0, "width": 16, "height": 16}
    left, top, width, height = (icon.get(key, icons.get(key, default)) for key, default in box.items())
    body = icon["body"]
    if flipped:
        body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size}" height="{size}" viewBox="{left} {top} {width} {height}">{body}</svg>'
    )


def _has_label(rule: Mapping[str, Sequence[str]], name: str, subgroup: str, keywords: Sequence[str]) -> bool:
    if name in rule.get("except", ()):
        return False
    inside = "within" not in rule or subgroup.startswith(tuple(rule["within"]))
    return (
        name in rule.get("also", ())
        or subgroup.startswith(tuple(rule.get("subgroups", ())))
        or (inside and not set(keywords).isdisjoint(rule.get("keywords", ())))
        # Whole words, apostrophe and all: a woman's hat shows no woman.
        or not set(re.findall(r"[\w\u2019'-]+", name)).isdisjoint(rule.get("name_words", ()))
    )


def _telling(text: str) -> list[str]:
    """The words that may stand in a caption; none for an emoticon such as ":D"."""
    if re.search(r"[^\w\s\u2018-\u201d'.,:&!?()-]", text) or not re.match(r"[\w\u201c]", text):
        return []
    return [word for word in words(text) if word not in label_words()]


def _forms(word: str) -> set[str]:
    forms = {word, word + "s", word + "es", word.removesuffix("s"), word.removesuffix("es")}
    forms |= {word[:-1] + "ies" if word.endswith("y") else word, re.sub("ies$", "y", word)}
    for one, many in IRREGULAR.items():
        if word in (one, many):
            forms |= {one, many}
    return forms


def _resolve(icons: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """Follow aliases to the icon that has a body; True when it is to be mirrored."""
    flipped = False
    while name not in icons["icons"]:
        alias = icons["aliases"][name]
        name, flipped = alias["parent"], flipped != alias.get("hFlip", False)
    return name, flipped


def _slug(name: str) -> str:
    """Letters and digits only: vendors differ in accents and in where they put hyphens."""
    letters = unicodedata.normalize("NFKD", name.replace("\u2019", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", letters.lower())


def _plain(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")


def _points(hexcode: str) -> str:
    return "-".join(point for point in hexcode.upper().split("-") if point != "FE0F")


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest(), "big")
