"""What people and models wrote, as HTML that cannot do anything.

Two nets: the renderer never passes HTML through, and what it made is cleaned by an allow-list afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from .text import visible

MAX_RENDERED_CHARS = 40_000  # beyond it the text is shown as it is: a wall of brackets must not stall the page

_NAMES = "a blockquote br code em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody td th thead tr ul"
_TAGS = set(_NAMES.split())
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}


def markdown(text: str) -> Markup:
    """`text` as safe HTML. Links show where they lead, images become links, so reading a message calls nobody."""
    text = visible(text)
    if len(text) > MAX_RENDERED_CHARS:
        return Markup('<p class="plain">') + escape(text) + Markup("</p>")
    cleaned = nh3.clean(
        _READER.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(cleaned)


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    source = str(tokens[index].attrs.get("src", ""))
    name = tokens[index].content or "image"
    return f'<a href="{escape(source)}">🖼 {escape(name)} ({escape(_host(source))})</a>'


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    reader.enable(["table", "strikethrough"])
    reader.add_render_rule("image", _image)
    return reader


_READER = _reader()
