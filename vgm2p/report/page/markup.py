"""HTML from Python: everything is escaped unless it is markup already."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

from vgm2p.io.text import plain

VOID = ("br", "col", "input", "line", "path", "circle", "meta")  # elements without an end tag, or closed in themselves
Content = Any  # text, a number, markup, None, or an iterable of these


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: Content, **attributes: Any) -> Markup:
    """Return an element as HTML.

    Args:
        tag: name of the element.
        content: what it holds; text is escaped, None is left out.
        attributes: `class_` is `class`; other underscores are hyphens. None leaves an attribute out, True gives it no
            value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    inner = joined(content)
    return Markup(f"<{tag}{given}/>" if tag in VOID else f"<{tag}{given}>{inner}</{tag}>")


def joined(content: Content) -> Markup:
    """Return content as HTML, without anything between its parts."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str | int | float):
        return Markup(html.escape(plain(content)))
    return Markup("".join(map(joined, _parts(content))))


def _parts(content: Iterable[Content]) -> Iterable[Content]:
    return content


def _attribute(key: str, value: Any) -> str:
    word = key.rstrip("_").replace("_", "-").replace("viewBox".lower(), "viewBox")
    return f" {word}" if value is True else f' {word}="{html.escape(plain(value))}"'


def data_block(content: Any) -> str:
    """Return JSON that can stand in a `script` element: it holds no `<`, `>` and `&`."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return re.sub(r"[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)
