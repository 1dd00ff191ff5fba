"""HTML from trees of elements: whatever is not marked up is escaped, since manifests may hold anything."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Final

_EMPTY: Final = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *content: str, **attributes: str) -> Markup:
    """One element: plain strings are escaped, Markup goes in as it is; `class_` is class, `aria_label` aria-label."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    written = "".join(f' {names[key]}="{html.escape(value)}"' for key, value in attributes.items())
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(content: Iterable[str]) -> Markup:
    """Contents one after another, escaped where they are plain."""
    return Markup("".join(each if isinstance(each, Markup) else html.escape(each) for each in content))


def paragraph(*content: str) -> Markup:
    return element("p", *content)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> Markup:
    """A table whose first cell of every row names the row; `note` stands below it."""
    head = element("tr", *(element("th", each, scope="col") for each in header))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    made = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    below = [paragraph(element("small", note))] if note else []
    return element("div", made, *below, class_="wide")


def picture(svg: str, alternative: str, caption: str) -> Markup:
    """An SVG file as a figure: as data, so that the names inside of two pictures cannot meet."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    image = element("img", src=f"data:image/svg+xml;base64,{data}", alt=alternative)
    return element("figure", image, element("figcaption", caption))


def section(identifier: str, title: str, *content: str, level: int = 2) -> Markup:
    """A section with a heading that can be linked to."""
    return element("section", element(f"h{level}", title), *content, id=identifier)


def notice(kind: str, *content: str) -> Markup:
    """A box that cannot be overlooked: `kind` is "bad", "warn" or "good"."""
    return element("div", *content, class_=f"notice {kind}", role="alert" if kind == "bad" else "note")
