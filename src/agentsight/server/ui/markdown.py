"""What people and models wrote, as HTML that cannot do anything.

Two nets: the renderer never passes HTML through, and what it made is cleaned by an allow-list afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
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
    """`text` as safe HTML. Links show where they lead, images become links, so reading a message calls nobody.

    >>> print(markdown("**See** https://a.example/b, not `https://c.example`."), end="")
    <p><strong>See</strong> <a href="https://a.example/b" rel="noopener noreferrer nofollow">https://a.example/b</a>, not <code>https://c.example</code>.</p>
    """
    text = visible(text)
    if len(text) > MAX_RENDERED_CHARS:
        return Markup('<p class="plain">') + escape(text) + Markup("</p>")
    cleaned = nh3.clean(
        _READER.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={name: {"tabindex": "0"} for name in ("pre", "table")},  # they scroll, for keys too
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


_ADDRESS = re.compile(r"""https?://[^\s<>"'`|\\^{}\[\]]*[^\s<>"'`|\\^{}\[\].,;:!?*_)]""")


def _addresses(state: StateCore) -> None:
    """Make links of addresses that stand bare in the text, as people expect of a chat."""
    for block in state.tokens:
        if not block.children or "://" not in block.content:
            continue
        inside, children = 0, []
        for token in block.children:
            inside += token.nesting if token.type in ("link_open", "link_close") else 0
            children += _linked(state.md, token) if token.type == "text" and not inside else [token]
        block.children = children


def _linked(reader: MarkdownIt, token: Token) -> list[Token]:
    parts, done = [], 0
    for found in _ADDRESS.finditer(token.content):
        href = reader.normalizeLink(found[0])
        if reader.validateLink(href):
            parts.append(Token("text", "", 0, content=token.content[done : found.start()]))
            parts.append(Token("link_open", "a", 1, attrs={"href": href}))
            parts.append(Token("text", "", 0, content=found[0]))
            parts.append(Token("link_close", "a", -1))
            done = found.end()
    return [*parts, Token("text", "", 0, content=token.content[done:])]


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    reader.enable(["table", "strikethrough"])
    reader.add_render_rule("image", _image)
    reader.core.ruler.push("addresses", _addresses)
    return reader


_READER = _reader()
