"""One conversation: read it, find the place that matters, mark, rename, judge or delete it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from agentsight.core import conversations as core
from agentsight.core import spans
from agentsight.core.model import Attachment, Comment, Conversation, Event, Feedback, Span, Ticket
from agentsight.core.ports import Store
from agentsight.core.sight import EVERYTHING
from agentsight.errors import InvalidEvent, NotFound

from .. import render
from ..http import now_us
from . import filters, thread
from .addresses import query
from .conversations import neighbours
from .shell import act, page
from .visit import Visit

WINDOW = 200  # events on one page
AROUND = 60  # of them before the one asked for
WHOLE = 1_500  # a conversation up to this long is read whole, for its token sum and its places
STEPS, DEEPEST = 200, 5  # spans on one page, and steps to the side
_END = 2**62


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a timeline a page shows."""

    events: list[Event]
    earlier: int | None = None  # our id of the first event shown, if there are earlier ones
    later: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    head: Conversation
    stretch: Stretch
    files: list[Attachment]
    feedbacks: list[Feedback]
    buttons: Mapping[str, Sequence[tuple[str, str]]]
    tokens: thread.Tokens | None
    places: list[str]
    newer: Conversation | None
    older: Conversation | None
    tickets: list[tuple[Ticket, list[Comment]]]
    steps: list[tuple[int, Span]]  # how deep it lies, span


@page("conversations/{id:row}", "conversations.read")
def conversation(visit: Visit) -> Response:
    opened = visit.read(lambda store: _open(store, visit))
    head = opened.head
    agent = visit.agent_of(head.agent_id)
    stretch = opened.stretch
    inside = [feedback for feedback in opened.feedbacks if _inside(feedback, stretch)]
    return visit.render(
        "conversation.html",
        live=True,
        page="conversations",
        title=title(visit, head),
        head=head,
        agent=agent,
        opened=opened,
        lines=thread.lines(visit.voice, stretch.events, opened.files, inside, opened.buttons),
        anchor=lambda event: f"{_filtered(visit, f'conversations/{head.id}', at=event.id)}#m{event.id}",
        escalations=agent.escalation_actions,
        payload=thread.payload,
        pictures=thread.PICTURES,
        file_url=_file_url(visit),
        back=_filtered(visit, "conversations"),
        to=lambda other, place="", **more: _filtered(visit, f"conversations/{other.id}{place}", **more),
    )


@page("conversations/by/{conversation_id:path}", "conversations.read")
def by_conversation_id(visit: Visit) -> Response:
    """The page of a conversation by the caller's own id."""
    wanted = visit.request.path_params["conversation_id"]

    def ask(store: Store) -> Conversation:
        for agent_id in visit.scope.agent_ids:
            found = store.conversations.live(agent_id, [wanted]).get(wanted)
            if found:
                return found
        raise NotFound("no such conversation")

    return RedirectResponse(visit.link(f"conversations/{visit.read(ask).id}"), 303)


@page("conversations/{id:row}/first/{what}", "conversations.read")
def first(visit: Visit) -> Response:
    """To the first error, escalation, bad feedback or search hit."""

    def ask(store: Store) -> tuple[Conversation, int | None]:
        whole = core.transcript(store, visit.scope, _id(visit))
        tests = _tests(visit, visit.agent_of(whole.conversation.agent_id).escalation_actions)
        test = tests.get(visit.request.path_params["what"])
        if test is None:
            raise NotFound("there is no such page")
        bad = next((each.created_us for each in whole.feedbacks if each.sentiment == "negative"), _END)
        if visit.request.path_params["what"] == "feedback":
            return whole.conversation, next((e.id for e in reversed(whole.events) if e.occurred_us <= bad), None)
        return whole.conversation, next((event.id for event in whole.events if test(event)), None)

    head, row = visit.read(ask)
    address = _filtered(visit, f"conversations/{head.id}", at=row)
    return RedirectResponse(address + (f"#m{row}" if row else ""), 303)


def _tests(visit: Visit, escalations: frozenset[str]) -> dict[str, Callable[[Event], bool]]:
    params = visit.params
    needle = (params.get("search") or params.get("message_contains") or "").casefold()
    return {
        "error": lambda event: event.error is not None,
        "escalation": lambda event: event.kind == "action" and event.name in escalations,
        "feedback": lambda event: False,
        "hit": lambda event: bool(needle) and needle in (event.content or "").casefold(),
    }


def _open(store: Store, visit: Visit) -> Opened:
    head = core.get(store, visit.scope, _id(visit))
    where, _ = filters.asked(visit)
    newer, older = neighbours(store, visit, where, head)
    short = head.message_count + head.action_count <= WHOLE
    every = store.timeline.of(head.agent_id, [head.id]).get(head.id, []) if short else []
    stretch = _cut(every, _number(visit, "at"), _number(visit, "from"), _number(visit, "until")) if short else None
    stretch = stretch or _window(store, visit, head)
    if not visit.sight.metadata:
        stretch = replace(stretch, events=[replace(event, metadata={}) for event in stretch.events])
    return Opened(
        visit.sight.head(head),
        stretch,
        store.conversations.attachments(head.agent_id, [head.id]).get(head.id, []),
        store.conversations.feedbacks(head.agent_id, [head.id]).get(head.id, []),
        core.offered(store, head.agent_id, stretch.events),
        thread.spent(every),
        _places(visit, head),
        newer,
        older,
        _tickets(store, visit, head),
        _steps(store, visit, head),
    )


def _tickets(store: Store, visit: Visit, head: Conversation) -> list[tuple[Ticket, list[Comment]]]:
    """What somebody wants done about it, newest first, with the threads."""
    made = store.tickets.of_conversations(visit.scope, [head.id]).get(head.id, []) if visit.may("tickets.read") else []
    threads = store.tickets.threads(visit.scope, [ticket.id for ticket in made])
    return [(ticket, threads.get(ticket.id, [])) for ticket in made]


def _steps(store: Store, visit: Visit, head: Conversation) -> list[tuple[int, Span]]:
    """The first spans of it, each with how deep it lies; they hold everything: only who may see everything sees them."""
    if visit.sight != EVERYTHING:
        return []
    found = store.spans.page(visit.scope, {"conversation": head.id}, "started_at", STEPS, 0)
    steps, waiting = [], [(0, row) for row in reversed(spans.tree([(span, {"span": span}) for span, _ in found]))]
    while waiting:
        depth, row = waiting.pop()
        steps.append((min(depth, DEEPEST), row["span"]))
        waiting += ((depth + 1, child) for child in reversed(row["children"]))
    return steps


def _places(visit: Visit, head: Conversation) -> list[str]:
    """What there is to jump to."""
    params = visit.params
    there = {
        "error": head.error_count > 0,
        "escalation": head.is_escalated,
        "feedback": head.sentiment == "negative",
        "hit": bool(params.get("search") or params.get("message_contains")),
    }
    return [what for what, is_there in there.items() if is_there]


def _cut(events: list[Event], at: int | None, start: int | None, end: int | None) -> Stretch:
    """The part of a whole timeline the address asks for."""
    rows = {event.id: place for place, event in enumerate(events)}
    first = 0
    if at in rows:
        first = max(0, rows[at] - AROUND)
    elif start in rows:
        first = rows[start] + 1
    elif end in rows:
        first = max(0, rows[end] - WINDOW)
    shown = events[first : first + WINDOW]
    more = first + WINDOW < len(events)
    return Stretch(shown, shown[0].id if shown and first else None, shown[-1].id if shown and more else None)


def _window(store: Store, visit: Visit, head: Conversation) -> Stretch:
    """The same for a long timeline, of which only this part is read."""
    at, start, end = (_number(visit, name) for name in ("at", "from", "until"))
    asked = at or start or end
    found = store.timeline.find(visit.scope, asked) if asked else None
    if found is None or found.conversation != head.id:
        at = start = end = None

    def some(before: int | None, after: int | None, limit: int) -> list[Event]:
        return store.timeline.window(head.agent_id, head.id, before=before, after=after, limit=limit)

    if at and found:
        early, late = some(at, None, AROUND + 1), some(None, at, WINDOW - AROUND)
        events = [*early[-AROUND:], found, *late[: WINDOW - AROUND - 1]]
        return _ends(events, len(early) > AROUND, len(late) >= WINDOW - AROUND)
    if end:
        early = some(end, None, WINDOW + 1)
        return _ends(early[-WINDOW:], len(early) > WINDOW, True)
    late = some(None, start, WINDOW + 1)
    return _ends(late[:WINDOW], start is not None, len(late) > WINDOW)


def _ends(events: list[Event], earlier: bool, later: bool) -> Stretch:
    if not events:
        return Stretch([])
    return Stretch(events, events[0].id if earlier else None, events[-1].id if later else None)


def _inside(feedback: Feedback, stretch: Stretch) -> bool:
    """Feedback stands on the page that shows its time; what came after the end, on the last."""
    if not stretch.events:
        return True
    from_us = stretch.events[0].occurred_us if stretch.earlier else 0
    to_us = stretch.events[-1].occurred_us if stretch.later else _END
    return from_us <= feedback.created_us <= to_us


# -- changes ---------------------------------------------------------------------------------------------------------
@act("conversations/{id:row}/mark", "conversations.change")
def mark(visit: Visit, form: FormData) -> Response:
    visit.write(lambda store: core.mark(store, visit.scope, _id(visit), form.get("marked") == "true"))
    return _back(visit, "marked" if form.get("marked") == "true" else "unmarked")


@act("conversations/{id:row}/rename", "conversations.change")
def rename(visit: Visit, form: FormData) -> Response:
    visit.write(lambda store: core.rename(store, visit.scope, _id(visit), str(form.get("name") or "")))
    return _back(visit, "renamed")


@act("conversations/{id:row}/delete", "conversations.delete")
def delete(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        core.delete(store, visit.scope, _id(visit), now_us())
        visit.note(store, "conversation.deleted", str(_id(visit)))

    visit.write(change)
    return visit.redirect(_filtered(visit, "conversations"), f"deleted.{_id(visit)}")


@act("conversations/{id:int}/restore", "conversations.delete")
def restore(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        core.restore(store, visit.scope, _id(visit))
        visit.note(store, "conversation.restored", str(_id(visit)))

    visit.write(change)
    return _back(visit, "returned")


@act("conversations/{id:row}/judge", "conversations.change")
def judge(visit: Visit, form: FormData) -> Response:
    """Feedback from the team."""
    given = {"sentiment": form.get("sentiment"), "comment": form.get("comment") or None}

    def change(store: Store) -> None:
        head = core.get(store, visit.scope, _id(visit))
        event_id = f"page_{uuid.uuid4().hex}"
        core.add_feedback(store, visit.agent_of(head.agent_id), head, given, event_id, now_us(), "platform")

    try:
        visit.write(change)
    except InvalidEvent:
        return _back(visit, "unread")
    return _back(visit, "judged")


def _back(visit: Visit, notice: str) -> Response:
    return visit.redirect(_filtered(visit, f"conversations/{_id(visit)}"), notice)


def _filtered(visit: Visit, place: str, **more: object) -> str:
    """A page's address with the filter we came with, so that the way back and on is the same list."""
    pairs = [(name, value) for name, value in visit.params.multi_items() if name not in _PLACES]
    return visit.root + place + query(pairs + list(more.items()))


_PLACES = ("at", "from", "until", "before", "after")


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


def _number(visit: Visit, name: str) -> int | None:
    text = visit.params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else None


def title(visit: Visit, head: Conversation) -> str:
    """What a conversation is called; without a name, its id."""
    return head.name or head.conversation_id


def _file_url(visit: Visit) -> Callable[[Attachment], str]:
    signer = visit.request.app.state.signer
    return lambda file: render.file_url(file, signer)
