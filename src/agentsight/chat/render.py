"""A model's Markdown as HTML that cannot do anything: the model is not trusted, and neither is what it quotes."""

from __future__ import annotations

import html
from typing import Any
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

MAX_MARKDOWN_CHARS = 64_000
TAGS = {
    "a", "b", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


def _image(self: RendererHTML, tokens: list[Token], at: int, options: OptionsDict, env: Any) -> str:
    """An image as a link: loading it would tell its host who reads this, and when."""
    address = str(tokens[at].attrGet("src") or "")
    label = html.escape(tokens[at].content or "image")
    host = html.escape(_host(address) or "no address")
    return f'<a href="{html.escape(address)}">{label} ({host})</a>'


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_markdown.add_render_rule("image", _image)


def render(text: str) -> str:
    """`text` as safe HTML. Very long text is shown as it is, without Markdown.

    >>> render("**Hi** <img src=x onerror=alert(1)>")
    '<p><strong>Hi</strong> &lt;img src=x onerror=alert(1)&gt;</p>\\n'
    >>> render("[x](javascript:alert(1))")
    '<p>[x](javascript:alert(1))</p>\\n'
    """
    if len(text) > MAX_MARKDOWN_CHARS:
        return f"<pre>{html.escape(text)}</pre>"
    return nh3.clean(
        _markdown.render(text),
        tags=TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
