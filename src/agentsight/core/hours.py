"""Conversations behind one hour of the week, which is no one stretch of time but many."""

from __future__ import annotations

import re
from dataclasses import replace
from zoneinfo import ZoneInfo

from .calendars import cut
from .model import Conversation, Filter, Scope
from .ports import Store

MOST_AN_HOUR = 1_000
_KEY = re.compile(r"(mon|tue|wed|thu|fri|sat|sun)-([01]\d|2[0-3])")


def behind(store: Store, scope: Scope, where: Filter, key: str, zone: ZoneInfo) -> list[Conversation] | None:
    """The conversations counted in every `key` (such as `mon-14`) between `counted_from` and `counted_to`, newest first.

    None when the question is not complete: no such hour, or nothing that says what was counted, and when.
    """
    first_us, until_us = where.counted_from, where.counted_to
    if not _KEY.fullmatch(key) or where.counted_by is None or first_us is None or until_us is None:
        return None
    found: dict[int, Conversation] = {}
    for span in cut(first_us, until_us, "weekday_hour", zone):
        if span.key == key:
            hour = replace(where, counted_from=span.first_us, counted_to=span.until_us)
            rows, _ = store.conversations.page(scope, hour, limit=MOST_AN_HOUR)
            found.update((head.id, head) for head in rows)
    return sorted(found.values(), key=lambda head: (-head.started_us, -head.id))
