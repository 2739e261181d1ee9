"""How long an organization keeps what was said, and how long the numbers of it; done in small steps between other work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from agentsight.errors import Invalid

from . import attachments, audit, counting
from .history import KEYS
from .measures import BUCKET_US, Deltas
from .model import Agent, Conversation, Organization, Principal, Removed, Scope
from .ports import Blobs, Storage, Store

DAY_US = 86_400_000_000
MONTH_US = 2_629_800_000_000  # the 12th part of 365.25 days
DELETED_DAYS = 30  # how long a conversation somebody deleted is kept, unless the organization says otherwise
MOST_DAYS, MOST_MONTHS = 36_500, 1_200
ROWS = 1_000  # events of one transaction
AT_ONCE = 50  # conversations of one transaction
NAME = "retention"


@dataclass(frozen=True, slots=True)
class Rules:
    """None: for ever. Numbers never go before the content they come from."""

    content_days: int | None = None
    numbers_months: int | None = None
    deleted_days: int = DELETED_DAYS

    def content_us(self, now_us: int) -> int | None:
        """What was said before then goes."""
        return None if self.content_days is None else now_us - self.content_days * DAY_US

    def numbers_us(self, now_us: int) -> int | None:
        return None if self.numbers_months is None else now_us - self.numbers_months * MONTH_US

    def deleted_us(self, now_us: int) -> int:
        return now_us - self.deleted_days * DAY_US


@dataclass(slots=True)
class Outcome:
    """What went, or would go: content of conversations; whole conversations with their numbers; deleted ones."""

    stripped: int = 0
    expired: int = 0
    purged: int = 0
    events: int = 0
    files: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())


def rules(organization: Organization) -> Rules:
    """What the organization set; for ever, where it set nothing."""
    told = organization.settings.get(NAME) or {}
    return Rules(told.get("content_days"), told.get("numbers_months"), told.get("deleted_days", DELETED_DAYS))


def read(told: Mapping[str, str]) -> Rules:
    """Rules as a form writes them; blank is for ever. Raises Invalid, naming the field."""

    def number(name: str, most: int) -> int | None:
        text = told.get(name, "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
            raise Invalid.of(name, f"must be a whole number from 1 to {most}, or nothing")
        return int(text)

    days, months = number("content_days", MOST_DAYS), number("numbers_months", MOST_MONTHS)
    deleted = number("deleted_days", MOST_DAYS) or DELETED_DAYS
    if months is not None and (days is None or days * DAY_US > months * MONTH_US):
        raise Invalid.of("numbers_months", "must not end before the content does: set both")
    return Rules(days, months, deleted)


def set_rules(store: Store, who: Principal, rules: Rules, now_us: int, ip: str | None = None) -> Organization:
    """Keep an organization's rules; from the next run on they hold."""
    organization = store.tenants.organization(who.scope.organization_id)
    assert organization is not None, "who is signed in belongs to one"
    settings = {**organization.settings, NAME: asdict(rules)}
    changed = replace(organization, settings=settings)
    store.settings.keep_organization(changed)
    audit.note(store, who, "settings.changed", NAME, asdict(rules), ip, now_us=now_us)
    return changed


def preview(store: Store, organization: Organization, rules: Rules, now_us: int) -> Outcome:
    """What a run would take out now."""
    outcome = Outcome()
    for agent in store.tenants.agents(organization.id):
        content_us, numbers_us = rules.content_us(now_us), rules.numbers_us(now_us)
        if numbers_us is not None:
            outcome.expired += store.retention.count_expired(agent.id, numbers_us)
        if content_us is not None:
            conversations, outcome_events, files = store.retention.count_content(agent.id, content_us)
            outcome.stripped += conversations
            outcome.events += outcome_events
            outcome.files += files
        outcome.purged += store.retention.count_deleted(agent.id, rules.deleted_us(now_us))
    outcome.stripped = max(0, outcome.stripped - outcome.expired)
    return outcome


@dataclass(slots=True)
class Run:
    """One run over an organization. `rest` is called between transactions, so that others get their turn; `stopped`
    says whether to leave the rest for the next time."""

    storage: Storage
    blobs: Blobs
    organization: Organization
    now_us: int
    rest: Callable[[], object] = lambda: None
    stopped: Callable[[], bool] = lambda: False
    outcome: Outcome = field(default_factory=Outcome)
    pressed: set[tuple[str, str, str]] = field(default_factory=set)

    def __call__(self) -> Outcome:
        """Take out what is due, and note it in the audit log when anything was."""
        kept = rules(self.organization)
        for agent in self.storage.read(lambda store: store.tenants.agents(self.organization.id)):
            numbers_us, content_us = kept.numbers_us(self.now_us), kept.content_us(self.now_us)
            if numbers_us is not None:
                self._expire(agent, numbers_us)
            if content_us is not None:
                self._strip(agent, content_us)
            self._purge(agent, kept.deleted_us(self.now_us))
            if self.pressed:
                forget = partial(_forget_buttons, agent=agent, pressed=self.pressed)
                self.storage.write(forget).result()
                self.pressed = set()
        if self.outcome:
            self.storage.write(self._note).result()
        return self.outcome

    def _note(self, store: Store) -> None:
        who = Principal(Scope(self.organization.id, ()), "owner", name=NAME)
        audit.note(store, who, "retention.applied", NAME, asdict(self.outcome), now_us=self.now_us)

    def _steps(self, step: Callable[[Store], Removed]) -> int:
        """Do `step`, a transaction each, until no conversation goes with it; gives how many went."""
        done = 0
        while not self.stopped():
            removed = self.storage.write(step).result()
            self._count(removed)
            if not removed.conversations:
                break
            done += removed.conversations
            self.rest()
        return done

    def _count(self, removed: Removed) -> None:
        """After the commit, for until then it may be done again."""
        self.outcome.files += attachments.let_go(self.storage, self.blobs, removed.files)
        self.outcome.events += removed.messages + removed.other_events
        self.pressed |= removed.buttons

    # -- what was said -----------------------------------------------------------------------------------------------
    def _strip(self, agent: Agent, until_us: int) -> None:
        after: tuple[int, int] | None = None
        while not self.stopped():

            def ask(store: Store, after: tuple[int, int] | None = after) -> list[Conversation]:
                return store.retention.with_content(agent.id, until_us, after, AT_ONCE)

            heads = self.storage.read(ask)
            if not heads:
                return
            after = heads[-1].started_us, heads[-1].id
            waiting = [head.id for head in heads]
            while waiting and not self.stopped():
                step = partial(_strip_some, agent=agent, waiting=waiting, until_us=until_us)
                waiting, removed, whole = self.storage.write(step).result()
                self._count(removed)
                self.outcome.stripped += whole
                self.rest()

    # -- everything --------------------------------------------------------------------------------------------------
    def _expire(self, agent: Agent, until_us: int) -> None:
        def step(store: Store) -> Removed:
            heads = store.retention.expired(agent.id, until_us, AT_ONCE)
            deltas = Deltas()
            for head in heads:
                counting.restate(store, head, None, deltas=deltas)
            store.rollups.apply(agent.id, deltas)
            return store.keeping.remove(agent.id, [head.id for head in heads], traceless=False)

        self.outcome.expired += self._steps(step)
        bucket = until_us // BUCKET_US
        self.storage.write(lambda store: store.retention.forget_sums(agent.id, bucket)).result()

    def _purge(self, agent: Agent, until_us: int) -> None:
        def step(store: Store) -> Removed:
            ids = store.retention.deleted(agent.id, until_us, AT_ONCE)
            return store.keeping.remove(agent.id, ids, traceless=False)

        self.outcome.purged += self._steps(step)


def _forget_buttons(store: Store, agent: Agent, pressed: set[tuple[str, str, str]]) -> None:
    store.keeping.orphaned_buttons(agent.id, pressed)


def _strip_some(store: Store, agent: Agent, waiting: list[int], until_us: int) -> tuple[list[int], Removed, int]:
    """Take the content of about ROWS events out; gives the conversations that wait still, what went, how many are done."""
    left, removed, done, whole = list(waiting), Removed(), 0, 0
    while left and done < ROWS:
        head = store.conversations.get(Scope(agent.organization_id, (agent.id,)), left[0])
        done += 1
        if head is None:  # deleted meanwhile
            left.pop(0)
            continue
        gone, reached_us = store.retention.strip_events(agent.id, head.id, head.stripped_us, until_us, ROWS)
        removed.add(gone)
        done += gone.other_events
        if reached_us is None:
            store.conversations.change([stripped(store, head, until_us)])
            left.pop(0)
            whole += 1
        else:
            store.conversations.change([head.but(stripped_us=reached_us)])
    return left, removed, whole


def stripped(store: Store, head: Conversation, until_us: int) -> Conversation:
    """`head` without what was said in it before then; whole heads that ended before keep only what the numbers need."""
    given = store.conversations.feedbacks(head.agent_id, [head.id]).get(head.id, [])
    last_us = max(head.started_us, head.ended_us or 0)
    if last_us >= until_us:
        return head.but(stripped_us=until_us)
    later = any(feedback.created_us >= until_us for feedback in given)  # its words go when their time has come
    return head.but(
        name=None,
        customer_ip_address=None,
        metadata={name: value for name, value in head.metadata.items() if name in KEYS},
        overrides={name: value for name, value in head.overrides.items() if name not in ("name", "metadata")},
        stripped_us=last_us if later else until_us,
    )
