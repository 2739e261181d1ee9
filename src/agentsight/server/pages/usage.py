"""Usage and limits: what is kept, what came in, and how much one request may carry."""

from __future__ import annotations

from starlette.responses import Response

from agentsight import wire
from agentsight.core import analytics
from agentsight.core.ports import Store

from ..http import now_us
from .analytics import drill, toolbar
from .board import Board
from .period import period
from .shell import Visit, page

ASKED = ("total_messages", "total_conversations", "total_tokens", "attachments", "tool_runs")


@page("usage", "analytics.read")
def usage(visit: Visit) -> Response:
    chosen, notices = period(visit)
    question = chosen.question(*ASKED, by=chosen.step, compare=True)

    def ask(store: Store) -> tuple[analytics.Answer, dict[str, int]]:
        return analytics.answer(store, visit.scope, question), store.settings.stored(visit.scope.agent_ids)

    answer, stored = visit.read(ask, may_lag=True)
    board = Board(visit.voice, chosen, {"time": answer}, drill(visit, chosen), now_us())
    return visit.render(
        "usage.html",
        page="usage",
        title=visit.voice.say("Usage and limits"),
        live=True,
        board=board,
        tiles=[board.tile(name) for name in ASKED if visit.sight.shows(name)][:4],
        stored=stored,
        limits=_limits(visit),
        facets={name: [] for name in ("source", "device", "language", "country")},
        **toolbar(visit, chosen, notices) | {"what": ""},
    )


def _limits(visit: Visit) -> list[tuple[str, str]]:
    """What one request may carry, from the contract itself."""
    v = visit.voice
    return [
        (v.say("Events in one batch"), v.number(wire.MAX_BATCH_EVENTS)),
        (v.say("One batch, unpacked"), f"{wire.MAX_BATCH_BYTES // 2**20} MiB"),
        (v.say("One message"), v.say("{n} characters", n=v.number(wire.MAX_CONTENT_CHARS))),
        (v.say("Metadata of one event"), v.say("{n} characters", n=v.number(wire.MAX_METADATA_CHARS))),
        (v.say("One file"), f"{wire.MAX_FILE_BYTES // 2**20} MiB"),
        (v.say("Files in one upload"), v.number(wire.MAX_FILES)),
    ]
