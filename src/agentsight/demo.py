"""Sample conversations for `agentsight demo`: made up, the same every time, and up to the present minute.

Each day's conversations come from a generator seeded with its date, so that a later start only adds the new days.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from agentsight import wire
from agentsight.core import attachments, ingest, tenancy
from agentsight.core.model import Agent
from agentsight.core.ports import Blobs, Storage, Store
from agentsight.storage import open_blobs
from agentsight.wire import Draft

ORGANIZATION, AGENT = "Demo", "Support agent"
DAYS = 90
_DAY_US = 86_400_000_000

# (name, first message, tool, its input, its output, answer, follow-up, last answer), per language
_SCENES: dict[str, list[tuple[str, str, str, dict[str, Any], str, str, str, str]]] = {
    "en": [
        (
            "Where is my parcel",
            "Hi! Where is my parcel? Order **#{n}** was due yesterday.",
            "get_order_status",
            {"order": "{n}"},
            '{{"status": "in transit", "carrier": "DHL", "expected": "tomorrow"}}',
            "Your parcel is **in transit** with DHL.\n\n| Step | When |\n| --- | --- |\n| Left the warehouse | 2 days ago |\n"
            "| Sorting centre | yesterday |\n| Out for delivery | tomorrow (expected) |\n\n"
            "Would you like me to:\n1. send a text message when it is out for delivery, or\n2. change the address?",
            "Text me, please.",
            "Done: you will get a text message on the morning of the delivery.",
        ),
        (
            "Refund for order",
            "The lamp from order #{n} arrived broken. Can I get my money back?",
            "create_refund",
            {"order": "{n}", "reason": "damaged"},
            '{{"refund": "R-{n}", "days": 5}}',
            "I am sorry about that. Refund **R-{n}** is on its way and should arrive within 5 working days.",
            "Do I have to send the lamp back?",
            "No, please keep or recycle it. Anything else I can help with?",
        ),
        (
            "Reset password",
            "How do I reset my password? I don't get the e-mail.",
            "search_knowledge_base",
            {"query": "password reset e-mail missing"},
            '[{{"article": "Password e-mails", "score": 0.92}}]',
            "Please check your spam folder. If it is not there:\n\n- open `Settings > Security`\n- choose *Send code by text*",
            "The code came, thanks!",
            "Great! You can set the new password right away.",
        ),
        (
            "Table for six",
            "I need a table for six on Friday at eight.",
            "create_booking",
            {"guests": 6, "day": "Friday", "time": "20:00"},
            '{{"booking": "B-{n}", "table": "terrace"}}',
            "Booked: **six people, Friday 20:00**, on the terrace. Your reference is B-{n}.",
            "Perfect. One of us is vegan.",
            "Noted for the kitchen. See you on Friday!",
        ),
        (
            "Cancel subscription",
            "Please cancel my subscription, it got too expensive.",
            "get_customer_plan",
            {"customer": "{n}"},
            '{{"plan": "Plus", "price": 29}}',
            "I can move you to **Basic** at 9 a month instead, or cancel at the end of this period. Which do you prefer?",
            "Just cancel it.",
            "It is cancelled and stays usable until the end of the month.",
        ),
    ],
    "de": [
        (
            "Lieferung verspätet",
            "Guten Tag, meine Bestellung {n} ist noch nicht da.",
            "get_order_status",
            {"order": "{n}"},
            '{{"status": "unterwegs", "expected": "morgen"}}',
            "Ihre Bestellung ist unterwegs und kommt voraussichtlich **morgen** an.",
            "Können Sie sie beim Nachbarn abgeben?",
            "Ja, ich habe den Zusteller informiert.",
        ),
        (
            "Rechnung für Oktober",
            "Ich brauche eine Kopie der Rechnung für Oktober.",
            "search_invoices",
            {"month": "2026-10"},
            '[{{"invoice": "RE-{n}", "total": 119.0}}]',
            "Gefunden: Rechnung **RE-{n}** über 119,00 €. Ich sende sie Ihnen per E-Mail.",
            "Danke, sehr nett!",
            "Gern geschehen.",
        ),
    ],
    "hr": [
        (
            "Gdje je paket",
            "Dobar dan, gdje je moj paket? Narudžba {n}.",
            "get_order_status",
            {"order": "{n}"},
            '{{"status": "u dostavi"}}',
            "Vaš paket je **u dostavi** i stiže danas do 16 sati.",
            "Hvala puno!",
            "Nema na čemu, ugodan dan!",
        ),
    ],
    "es": [
        (
            "Cambiar dirección",
            "Hola, ¿puedo cambiar la dirección del pedido {n}?",
            "change_address",
            {"order": "{n}"},
            '{{"changed": true}}',
            "Claro, he cambiado la dirección del pedido **{n}**. ¿Necesita algo más?",
            "No, muchas gracias.",
            "A usted. ¡Que tenga un buen día!",
        ),
    ],
}
_LANGUAGES = ("en",) * 9 + ("de",) * 4 + ("hr",) * 3 + ("es",) * 2
_SOURCES = ("web",) * 10 + ("whatsapp",) * 5 + ("viber",) * 2 + ("messenger",) * 2 + ("e-mail",)
_DEVICES = ("desktop",) * 10 + ("mobile",) * 8 + ("tablet",) * 2
_NETWORKS = {
    "en": ("8.8.8", "4.2.2", "12.127.16", "212.58.244", "139.130.4", "64.6.64"),
    "de": ("5.9.10", "80.130.12", "193.99.144"),
    "hr": ("161.53.72", "193.198.184"),
    "es": ("80.58.61", "200.33.146"),
}
_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 11, 15, 17, 16, 15, 16, 17, 15, 13, 11, 9, 8, 7, 5, 3, 2)
_MODELS = ("gpt-4o-mini",) * 6 + ("gpt-4o", "claude-sonnet-4-5", "in-house-7b")
_COMMENTS = {
    "positive": ("Fast and friendly, thank you!", "Solved in a minute.", "Super!"),
    "neutral": ("It was okay.", "Had to ask twice."),
    "negative": ("Did not help at all.", "I wanted to talk to a person."),
}


def fill(storage: Storage, files: str, now_us: int) -> int:
    """Make sure the sample data reaches up to now; gives how many events were new."""
    blobs = open_blobs(files)
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    added = 0
    for back in range(DAYS, -1, -10):
        days = [today - timedelta(days=back - offset) for offset in range(10) if back >= offset]

        def work(store: Store, days: list[date] = days) -> int:
            organization = tenancy.ensure_organization(store, ORGANIZATION, now_us)
            agent = tenancy.ensure_agent(store, organization, AGENT, now_us)
            return sum(_add_day(store, agent, day, now_us, blobs) for day in days)

        added += storage.write(work).result()
    return added


def _add_day(store: Store, agent: Agent, day: date, now_us: int, blobs: Blobs) -> int:
    drafts = [
        draft
        for conversation in _conversations(day, blobs)
        if conversation[-1].occurred_us < now_us
        for draft in conversation
    ]
    return sum(verdict.verdict == "accepted" for verdict in ingest.accept(store, agent, drafts, now_us))


def _conversations(day: date, blobs: Blobs) -> Iterator[list[Draft]]:
    dice = Random(f"agentsight {day}")
    weekend = day.weekday() >= 5
    midnight_us = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    for number in range(dice.randint(5, 9) if weekend else dice.randint(11, 19)):
        hour = dice.choices(range(24), _HOURS)[0]
        start_us = midnight_us + hour * 3_600_000_000 + dice.randrange(3_600_000_000)
        yield list(_conversation(dice, f"{day}-{number:02}", start_us, blobs))


def _conversation(dice: Random, key: str, start_us: int, blobs: Blobs) -> Iterator[Draft]:
    language = dice.choice(_LANGUAGES)
    scene = dice.choice(_SCENES[language])
    order = str(dice.randint(10_000, 99_999))
    name, asked, tool, given, got, answer, more, last = scene
    asked, got, answer, last = (part.format(n=order) for part in (asked, got, answer, last))
    clock = _Clock(dice, f"demo-{key}", start_us)
    opened_only = dice.random() < 0.12
    yield clock.draft(
        "conversation",
        customer_id=f"cust-{dice.randint(1, 420)}",
        customer_ip_address=f"{dice.choice(_NETWORKS[language])}.{dice.randint(1, 250)}",
        device=dice.choice(_DEVICES),
        source=dice.choice(_SOURCES),
        language=language,
        name=name,
        environment="production" if dice.random() < 0.96 else "development",
        is_used=not opened_only and dice.random() < 0.7,
        metadata={"plan": dice.choice(("free", "plus", "pro")), "agent_version": _version(start_us)},
    )
    if opened_only:
        return
    clock.wait(2, 20)
    yield clock.draft("message", sender="end_user", content=asked)
    if dice.random() < 0.1:
        yield clock.draft("attachment", sender="end_user", files=[_picture(dice, blobs)])
    yield from _tool(dice, clock, tool, {k: str(v).format(n=order) for k, v in given.items()}, got)
    clock.wait(0.6, 4)
    yield clock.draft("message", sender="agent", content=answer)
    yield _tokens(dice, clock)
    clock.wait(8, 70)
    if dice.random() < 0.35:
        yield clock.draft(
            "button", button_event="next_step", label=dice.choice(("Yes", "No", "Talk to a person")), value="step"
        )
        clock.wait(3, 10)
    yield clock.draft("message", sender="end_user", content=more)
    if dice.random() < 0.07:
        yield from _tool(
            dice, clock, dice.choice(("open_ticket", "fallback_to_human")), {"order": order}, '{"ticket": 911}'
        )
        last = "I opened a ticket with everything you told me; a colleague will answer within one working day."
    if dice.random() < 0.04:
        return
    clock.wait(0.8, 6)
    yield clock.draft("message", sender="agent", content=last)
    yield _tokens(dice, clock)
    if dice.random() < 0.34:
        clock.wait(5, 60)
        mood = dice.choices(("positive", "neutral", "negative"), (76, 14, 10))[0]
        yield clock.draft("feedback", sentiment=mood, comment=dice.choice(_COMMENTS[mood]))


class _Clock:
    """Makes the drafts of one conversation, one after the other in time."""

    def __init__(self, dice: Random, key: str, now_us: int):
        self._dice, self._key, self.now_us, self._count = dice, key, now_us, 0

    def wait(self, least_s: float, most_s: float) -> None:
        self.now_us += int(self._dice.uniform(least_s, most_s) * 1_000_000)

    def draft(self, kind: str, **fields: Any) -> Draft:
        self._count += 1
        files = fields.pop("files", None)
        sound = wire.check(kind, fields | ({"data": ""} if files else {}))
        if files:
            sound = {name: value for name, value in sound.items() if name != "data"} | {"files": files}
        return Draft(f"{self._key}-{self._count}", kind, self._key, self.now_us, self._count, sound)


def _tool(dice: Random, clock: _Clock, name: str, given: dict[str, Any], got: str) -> Iterator[Draft]:
    clock.wait(0.1, 0.6)
    started_us = clock.now_us
    duration_ms = round(dice.lognormvariate(5.3, 0.7))
    failed = dice.random() < 0.03
    draft = clock.draft(
        "action",
        action_name=name,
        duration_ms=duration_ms,
        started_at=wire.instant(started_us),
        ended_at=wire.instant(started_us + duration_ms * 1000),
        tools_used=given,
        **({"error_msg": "upstream timeout"} if failed else {"response": got}),
    )
    clock.now_us += duration_ms * 1000
    yield draft


def _tokens(dice: Random, clock: _Clock) -> Draft:
    prompt, completion = dice.randint(300, 1_500), dice.randint(40, 260)
    return clock.draft(
        "token_usage",
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        model=dice.choice(_MODELS),
    )


def _version(start_us: int) -> str:
    """The agent's version rises every three weeks, so that its history has something to show."""
    return f"1.{start_us // (21 * _DAY_US) % 100}"


def _picture(dice: Random, blobs: Blobs) -> dict[str, Any]:
    """A small made-up photograph: a coloured PNG."""
    width, height, colour = 64, 48, bytes(dice.randrange(60, 220) for _ in range(3))
    raw = b"".join(b"\x00" + colour * width for _ in range(height))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return attachments.keep(blobs, data, "damaged-box.png", "image/png")
