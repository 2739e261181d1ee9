"""One matter in full: its lines, a table that sorts by any column, and every row's conversations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.responses import Response

from agentsight.core import analytics, tool_times
from agentsight.core.analytics import Answer
from agentsight.core.measures import DIMENSIONS
from agentsight.core.metrics import METRICS
from agentsight.core.model import Conversation
from agentsight.core.ports import Store
from agentsight.core.tool_times import Found
from agentsight.errors import NotFound

from ..http import now_us
from ..ui.words import Voice
from .analytics import counted, drill, toolbar
from .board import Board, called, said, title, unpriced
from .filters import facets
from .layout import _N, SECTIONS
from .period import Period, period
from .shell import page
from .visit import Visit


@dataclass(frozen=True, slots=True)
class Topic:
    """What a page is about. `lines` stand over time, `columns` in the table, split by the first of `splits`."""

    name: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    splits: tuple[str, ...] = DIMENSIONS
    only: str = ""  # the metric whose newest conversations are worth showing below
    drawing: str = "chart-column"
    begin: str = ""  # how such things come to be here, said where there are none
    sample: str = ""  # the line of code that does it


TOPICS = {
    "countries": Topic(
        _N("Countries"),
        ("total_conversations",),
        ("total_conversations", "total_messages", "individual_users", "average_response_ms", "escalation_rate_pct"),
        drawing="globe",
        begin=_N("Say the customer’s IP address when a conversation begins: the country is looked up here."),
        sample='tracker.get_or_create_conversation("hello-1", customer_ip_address=request.client.host)',
    ),
    "users": Topic(
        _N("Users"),
        ("individual_users", "total_conversations"),
        ("individual_users", "total_conversations", "total_messages", "average_duration_ms"),
        ("source", "country", "device", "language"),
        drawing="users",
        begin=_N("Say who the customer is when a conversation begins: any id of yours that stays the same."),
        sample='tracker.get_or_create_conversation("hello-1", customer_id="cust-42")',
    ),
    "responses": Topic(
        _N("Response times"),
        ("average_response_ms", "median_response_ms", "p95_response_ms"),
        ("average_response_ms", "median_response_ms", "p95_response_ms", "total_messages"),
        ("source", "country", "device", "language"),
        drawing="timer",
        begin=_N("Waits are counted from a customer’s message to the agent’s reply. Track both."),
        sample='tracker.track_human_message("Where is my parcel?")\ntracker.track_agent_message("It arrives tomorrow.")',
    ),
    "tools": Topic(
        _N("Tools"),
        ("tool_runs", "tool_errors"),
        ("tool_runs", "tool_errors", "tool_error_rate_pct", "average_tool_duration_ms"),
        ("tool",),
        "tool_errors",
        drawing="wrench",
        begin=_N(
            "Track what the agent runs, and it is counted here: how often, how long it takes, how often it fails."
        ),
        sample='tracker.track_action("get_order_status", duration_ms=180, tools_used={"order": 7})',
    ),
    "tokens": Topic(
        _N("Tokens and cost"),
        ("prompt_tokens", "completion_tokens"),
        ("total_tokens", "cost_usd", "prompt_tokens", "completion_tokens", "embedding_tokens", "unpriced_tokens"),
        ("model",),
        drawing="coins",
        begin=_N("Track what models use, and it is counted and priced here."),
        sample='tracker.track_token_usage(prompt_tokens=420, completion_tokens=60, model="gpt-4o-mini")',
    ),
    "feedback": Topic(
        _N("Feedback"),
        ("feedback_positive", "feedback_negative"),
        ("feedback_conversations",),
        ("sentiment",),
        "feedback_conversations",
        drawing="thumbs-up",
        begin=_N("Pass on what customers think of a conversation, or give feedback on its page here."),
        sample='conversation_manager.submit_feedback("hello-1", "positive", comment="Quick!")',
    ),
    "escalations": Topic(
        _N("Escalations"),
        ("escalated_conversations",),
        ("escalated_conversations", "total_conversations", "escalation_rate_pct"),
        ("source", "country", "device", "language"),
        "escalated_conversations",
        drawing="life-buoy",
        begin=_N("A conversation is escalated when an action ran that hands over to a human: see the settings."),
        sample='tracker.track_action("fallback_to_human")',
    ),
    "buttons": Topic(
        _N("Buttons"),
        ("button_clicks",),
        ("button_clicks",),
        ("button",),
        drawing="mouse-pointer-click",
        begin=_N("Track which of the offered buttons people press."),
        sample='tracker.track_button("helpful", label="Yes", value="yes")',
    ),
}


SECTIONS["analytics"] = {key: topic.name for key, topic in TOPICS.items()}


MOST_ROWS = 200  # of a table; the export has them all
PERCENTILES = {"median_ms": _N("Median"), "p95_ms": "95 %"}
"""Columns of the tools' table that no sum keeps."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the page shows."""

    answers: dict[str, Answer]
    some: list[Conversation]
    facets: dict[str, list[str]]
    times: Found | None
    erased: int


@dataclass(frozen=True, slots=True)
class Cell:
    words: str
    value: float | None
    href: str


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    share: float
    cells: list[Cell]
    css: str = ""


@page("analytics/{topic}", "analytics.read")
def details(visit: Visit) -> Response:
    topic, key = _topic(visit)
    chosen, notices = period(visit)
    split = _split(visit, topic)
    looked = visit.read(lambda store: _ask(store, visit, topic, chosen, split), may_lag=True)
    board = Board(visit.voice, chosen, looked.answers, drill(visit, chosen), now_us())
    titles = {name: title(visit.voice, name) for name in topic.columns}
    titles |= {name: visit.voice.say(words) for name, words in PERCENTILES.items() if looked.times}
    sort = visit.params.get("sort") or topic.columns[0]
    rows, every = _rows(visit, board, topic, split, sort, looked.times)
    tiles = [board.tile(name) for name in dict.fromkeys((*topic.columns, *topic.lines))][:4]
    return visit.render(
        "details.html",
        page="analytics",
        live=True,
        title=visit.voice.say(topic.name),
        topic=topic,
        key=key,
        splits=split_names(visit.voice),
        split=split,
        sort=sort,
        board=board,
        tiles=tiles,
        anything=any(board.total(name) for name in topic.lines),
        before=any(series.previous for series in looked.answers["time"].series if series.name in topic.lines),
        rows=rows,
        cut=every if every > len(rows) else 0,
        titles=list(titles.items()),
        times=looked.times,
        most=tool_times.MOST,
        some=[visit.sight.head(head) for head in looked.some],
        facets=looked.facets,
        erased=looked.erased,
        **toolbar(visit, chosen, notices),
    )


def _topic(visit: Visit) -> tuple[Topic, str]:
    key = visit.request.path_params["topic"]
    if key not in TOPICS or (key == "tokens" and not visit.shows_tokens):
        raise NotFound("there is no such page")
    topic = TOPICS[key]
    seen = tuple(name for name in topic.columns if visit.sight.shows(name))
    return replace(topic, columns=seen, lines=tuple(name for name in topic.lines if visit.sight.shows(name))), key


def _split(visit: Visit, topic: Topic) -> str:
    asked = visit.params.get("split")
    return asked if asked in topic.splits else topic.splits[0]


def _ask(store: Store, visit: Visit, topic: Topic, chosen: Period, split: str) -> Looked:
    names = tuple(dict.fromkeys((*topic.lines, *topic.columns)))
    asked = {
        "time": chosen.question(*names, by=chosen.step, compare=True),
        "split": chosen.question(*topic.columns, by=split),
    }
    if split == "country":
        asked["country"] = chosen.question("total_conversations", by="country")
    answers = {name: analytics.answer(store, visit.scope, question) for name, question in asked.items()}
    some: list[Conversation] = []
    if topic.only:
        some, _ = store.conversations.page(visit.scope, counted(visit, chosen, topic.only), limit=8)
    times = tool_times.tool_times(store, visit.scope, asked["split"]) if split == "tool" else None
    erased = analytics.erased(store, visit.scope, asked["time"])
    return Looked(answers, some, facets(store, visit), times, erased)


def _rows(
    visit: Visit, board: Board, topic: Topic, split: str, sort: str, times: Found | None
) -> tuple[list[Line], int]:
    """The table: a row a key, a cell a metric, the largest of the sorted column first; and how many there are in all."""
    answer = board.answers["split"]
    values = {series.name: {row.key: row for row in series.rows} for series in answer.series}
    keys = list(dict.fromkeys(row.key for series in answer.series for row in series.rows))
    column = sort if sort in topic.columns or (times and sort in PERCENTILES) else topic.columns[0]

    def number(key: str, name: str) -> float | None:
        if name in PERCENTILES:
            return getattr(times.by_tool.get(key), name, None) if times else None
        row = values[name].get(key)
        return row.value if row else None

    keys.sort(key=lambda key: -(number(key, column) or 0))
    most = max((number(key, topic.columns[0]) or 0 for key in keys), default=0) or 1
    lines = [
        Line(
            called(visit.voice, split, key),
            100 * (number(key, topic.columns[0]) or 0) / most,
            _cells(visit, board, topic, split, key, values)
            + [Cell(visit.voice.wait(number(key, name)), number(key, name), "") for name in PERCENTILES if times],
            {"positive": "good", "neutral": "warn", "negative": "bad"}.get(key, "") if split == "sentiment" else "",
        )
        for key in keys[:MOST_ROWS]
    ]
    return lines, len(keys)


def _cells(
    visit: Visit, board: Board, topic: Topic, split: str, key: str, values: dict[str, dict[str, analytics.Row]]
) -> list[Cell]:
    cells = []
    for name in topic.columns:
        row = values[name].get(key)
        value = row.value if row else (0 if METRICS[name].sums else None)
        href = board.drill(name, split, row) if row and value else ""
        free = values["unpriced_tokens"].get(key) if "unpriced_tokens" in values else None
        words = unpriced(visit.voice, name, value, free.value if free else None)
        cells.append(Cell(words or said(visit.voice, METRICS[name].unit, value), value, href))
    return cells


def split_names(voice: Voice) -> dict[str, str]:
    return {
        "country": voice.say("Country"),
        "device": voice.say("Device"),
        "source": voice.say("Source"),
        "language": voice.say("Language"),
        "tool": voice.say("Tool"),
        "model": voice.say("Model"),
        "sentiment": voice.say("Feedback"),
        "button": voice.say("Button"),
    }
