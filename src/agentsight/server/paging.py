"""Pages by number, as the clients of the package index turn them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import Request

from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from . import http

MAX_PAGE_SIZE, MAX_PAGE = 100, 1_000_000
USUAL = 15  # rows of a page where nobody says
Asked = Mapping[str, Sequence[str]]


def page_number(request: Request) -> int:
    """Raises NotFound for what is no page."""
    text = request.query_params.get("page") or "1"
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not 1 <= int(text) <= MAX_PAGE:
        raise NotFound("Invalid page.")
    return int(text)


def page_size(request: Request, usual: int = USUAL) -> int:
    """At most MAX_PAGE_SIZE, whatever is asked for. Raises Invalid for what is no number."""
    text = request.query_params.get("page_size") or str(usual)
    if not (text.isascii() and text.isdigit()) or int(text[:18]) < 1:
        raise Invalid.of("page_size", f"must be a whole number from 1 to {MAX_PAGE_SIZE}")
    return min(int(text[:18]), MAX_PAGE_SIZE)


def slice_of(request: Request, usual: int = USUAL) -> tuple[int, int]:
    """(limit, offset) of the page asked for."""
    size = page_size(request, usual)
    return size, (page_number(request) - 1) * size


def envelope(request: Request, total: int, results: list[Any], usual: int = USUAL) -> dict[str, Any]:
    """The page with the way to its neighbours; `next` is there exactly while there is more.

    Raises:
        NotFound: it lies beyond the last one.
    """
    number, size = page_number(request), page_size(request, usual)
    if number > 1 and not results:
        raise NotFound("Invalid page.")
    pages = max(1, math.ceil(total / size))

    def link(page: int) -> str:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
        return f"{http.base_url(request)}{request.url.path}?{urlencode([*others, ('page', str(page))])}"

    return {
        "count": total,
        "page_size": size,
        "total_pages": pages,
        "current_page": number,
        "next": link(number + 1) if number < pages else None,
        "previous": link(number - 1) if number > 1 else None,
        "results": results,
    }


async def listed(
    request: Request,
    find: Callable[[Store, Asked, int, int], tuple[int, Iterable[Any]]],
    show: Callable[[Any], Any] = lambda row: row,
    *,
    may_lag: bool = True,
) -> http.Json:
    """The page a request asks for, of what `find` gives for its parameters, limit and offset: how many there are, and some."""
    limit, offset = slice_of(request)
    asked = http.multi(request)
    total, rows = await http.read(request, lambda store: find(store, asked, limit, offset), may_lag=may_lag)
    return http.Json(envelope(request, total, [show(row) for row in rows]))


def described(filters: Any, orders: Any) -> dict[str, str]:
    """What a list takes, for its description: filters, order, page."""
    return {
        **dict.fromkeys(filters, "a filter; all are joined by AND"),
        "ordering": "one of " + ", ".join(orders) + "; with - in front backwards",
        "page": "1 and up",
        "page_size": f"1 to {MAX_PAGE_SIZE}, default {USUAL}; more is cut to {MAX_PAGE_SIZE}",
    }
