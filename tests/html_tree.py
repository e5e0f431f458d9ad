"""HTML as a tree, as strictly as the pages that hashzoo writes: an element is closed in its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

NEVER_CLOSED = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})


@dataclass
class Element:
    """An element; `children` are elements and texts."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        """The text, with single spaces."""
        return " ".join(self.text.split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Every element below of a tag, with a class (`css`) and attributes ("data_row" is data-row)."""
        css = wanted.pop("css", "")
        named = {name.replace("_", "-"): value for name, value in wanted.items()}
        return [
            one
            for one in self._below()
            if tag in ("", one.tag) and (not css or css in one.classes) and named.items() <= one.attributes.items()
        ]

    def one(self, tag: str = "", **wanted: str) -> Element:
        (found,) = self.all(tag, **wanted)
        return found

    def _below(self) -> Iterator[Element]:
        for child in self.children:
            if not isinstance(child, str):
                yield child
                yield from child._below()


def parse(page: str) -> Element:
    """The tree of a page; an element that is closed in the wrong place, or not, fails."""
    root = Element("")
    open_elements = [root]

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert len({name for name, _ in attributes}) == len(attributes), (tag, attributes)
            element = Element(tag, {name: value or "" for name, value in attributes})
            open_elements[-1].children.append(element)
            if tag not in NEVER_CLOSED:
                open_elements.append(element)

        def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.handle_starttag(tag, attributes)
            if tag not in NEVER_CLOSED:
                open_elements.pop()

        def handle_endtag(self, tag: str) -> None:
            assert open_elements[-1].tag == tag, f"</{tag}> closes <{open_elements[-1].tag}>"
            open_elements.pop()

        def handle_data(self, text: str) -> None:
            open_elements[-1].children.append(text)

    parser = Parser()
    parser.feed(page)
    parser.close()
    assert open_elements == [root], [element.tag for element in open_elements]
    return root
