"""Reports, shares, settings and history: kept by every engine, found by nobody else."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from agentsight.core import analytics, history, hosts, hours, people, reports, settings, shares, tenancy
from agentsight.core.model import Agent, Filter, Principal, Scope
from agentsight.core.ports import Storage, Store
from agentsight.core.sight import Sight
from agentsight.errors import Invalid, NotFound, RateLimited, Unauthorized
from agentsight.wire import instant
from storage.conftest import NOW_US, accepting, new_agent, scope_of

DAY_US = 86_400_000_000
MONDAY_US = 1_793_615_400_000_000  # 2026-11-02T10:30 UTC


def person(agent: Agent) -> Principal:
    return Principal(scope_of(agent), "owner", user_id=1, name="mia@example.com")


def said(key: str, at_us: int, **more: object) -> dict[str, object]:
    return {
        "id": f"{key}-{at_us}",
        "kind": "message",
        "conversation_id": key,
        "sender": "end_user",
        "content": "hi",
        "occurred_at": instant(at_us),
        **more,
    }


def described(key: str, at_us: int, **more: object) -> dict[str, object]:
    return {
        "id": f"{key}-c",
        "kind": "conversation",
        "conversation_id": key,
        "environment": "production",
        "occurred_at": instant(at_us),
        **more,
    }


def answers_of(store: Store, agent: Agent) -> dict[str, analytics.Answer]:
    names = ("total_messages", "average_response_ms", "individual_users")
    gone = (("source", "mail"), ("metadata", (("plan", "free"),)))
    where = Filter(environment="production", metadata=(("plan", "pro"),), unless=gone)
    questions = {
        "time": analytics.Question(names, "2026-11-01", "2026-11-07", "Europe/Zagreb", "day", "weekday", where),
        "hours": analytics.Question(("total_messages",), "2026-11-01", "2026-11-07", by="weekday_hour"),
    }
    return {name: analytics.answer(store, scope_of(agent), question) for name, question in questions.items()}


def test_a_thawed_report_equals_what_was_frozen(storage: Storage, agent: Agent):
    storage.write(accepting(agent, described("a", MONDAY_US), said("a", MONDAY_US))).result()
    answers = storage.read(lambda store: answers_of(store, agent))
    kept = storage.write(
        lambda store: reports.save(store, person(agent), " My  report ", "?range=7d", answers, {"tz": "UTC"}, NOW_US)
    ).result()
    found = storage.read(lambda store: reports.get(store, scope_of(agent), kept.id))
    assert found.name == "My report" and found.body["facts"] == {"tz": "UTC"}
    assert reports.thaw(found.body["answers"]) == answers


def test_a_report_of_other_agents_is_not_found(storage: Storage, agent: Agent):
    kept = storage.write(lambda store: reports.save(store, person(agent), "Mine", "", {}, {}, NOW_US)).result()
    other = new_agent(storage)
    for scope in (scope_of(other), Scope(agent.organization_id + 1, (agent.id,))):
        assert kept not in storage.read(lambda store, scope=scope: reports.every(store, scope))
        with pytest.raises(NotFound):
            storage.read(lambda store, scope=scope: reports.get(store, scope, kept.id))
        with pytest.raises(NotFound):
            storage.write(lambda store, scope=scope: reports.delete(store, scope, kept.id)).result()


def share(storage: Storage, agent: Agent, **told: object) -> tuple[str, int]:
    def make(store: Store) -> tuple[str, int]:
        options = {"kind": "analytics", "name": "Board", "now_us": NOW_US} | told
        token, made = shares.create(store, person(agent), **options)  # type: ignore[arg-type]
        return token, made.id

    return storage.write(make).result()


def test_a_share_is_found_by_its_token_until_it_is_revoked(storage: Storage, agent: Agent):
    token, id = share(storage, agent, days=7, sight="full", theme="dark", widgets=("map",))
    found = storage.read(lambda store: shares.find(store, token))
    assert (found.id, found.sight, found.theme, found.widgets) == (id, "full", "dark", ("map",))
    assert not shares.has_ended(found, NOW_US + 7 * DAY_US - 1) and shares.has_ended(found, NOW_US + 7 * DAY_US)
    for wrong in (token + "x", "", token[:-1]):
        with pytest.raises(NotFound):
            storage.read(lambda store, wrong=wrong: shares.find(store, wrong))
    elsewhere = Scope(agent.organization_id + 1, (agent.id,))
    for scope in (elsewhere, scope_of(new_agent(storage))):
        with pytest.raises(NotFound):
            storage.write(lambda store, scope=scope: shares.extend(store, scope, id, 30, NOW_US)).result()
    storage.write(lambda store: shares.extend(store, scope_of(agent), id, None, NOW_US)).result()
    assert storage.read(lambda store: shares.find(store, token)).expires_us is None
    storage.write(lambda store: shares.revoke(store, scope_of(agent), id, NOW_US)).result()
    with pytest.raises(NotFound):
        storage.read(lambda store: shares.find(store, token))
    for again in (shares.revoke, lambda store, scope, id, now_us: shares.extend(store, scope, id, 30, now_us)):
        with pytest.raises(NotFound):
            storage.write(lambda store, again=again: again(store, scope_of(agent), id, NOW_US)).result()


def test_a_share_counts_its_views_and_keeps_no_password(storage: Storage, agent: Agent):
    token, id = share(storage, agent, password="open sesame")
    found = storage.read(lambda store: shares.find(store, token))
    assert "sesame" not in str(found)
    shares.unlock(storage, found, "open sesame", None, NOW_US)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            shares.unlock(storage, found, "open", None, NOW_US)
    with pytest.raises(RateLimited):
        shares.unlock(storage, found, "open sesame", None, NOW_US)
    for _ in range(3):
        storage.write(lambda store: store.shares.viewed(id, NOW_US)).result()
    assert storage.read(lambda store: shares.find(store, token)).views == 3


@pytest.mark.parametrize("told", [{"kind": "x"}, {"sight": "x"}, {"theme": "x"}, {"days": 0}, {"name": " "},
                                  {"kind": "conversation", "sight": "numbers"}, {"hosts": ["https://a.example"] * 21},
                                  {"hosts": ["https://a.example"], "password": "x"}])  # fmt: skip
def test_a_share_that_makes_no_sense_is_refused(storage: Storage, agent: Agent, told: dict[str, object]):
    with pytest.raises(Invalid):
        share(storage, agent, **told)


def test_a_host_name_belongs_to_one_organization_on_every_engine(storage: Storage, agent: Agent):
    name = f"{agent.slug}.example"

    def change(store: Store) -> None:
        mine, theirs = (tenancy.ensure_organization(store, name, NOW_US) for name in ("acme", "others"))
        hosts.add(store, mine, name.upper(), (), NOW_US)
        assert hosts.add(store, mine, name, (), NOW_US).host == name, "a second time is no harm"
        with pytest.raises(Invalid, match="taken"):
            hosts.add(store, theirs, name, (), NOW_US)
        with pytest.raises(NotFound):
            hosts.remove(store, theirs, name)
        assert hosts.primary(store, mine.id) is None, "nobody came this way yet"
        store.hosts.seen(name, NOW_US)
        store.hosts.seen(name, NOW_US + 1)
        assert [(one.host, one.seen_us) for one in store.hosts.of(mine.id)] == [(name, NOW_US)]
        assert hosts.primary(store, mine.id) == name
        hosts.remove(store, mine, name)
        assert store.hosts.found(name) is None

    storage.write(change).result()


@pytest.mark.parametrize(
    "host", ["example.com", "https://*", "https://a b", "javascript:alert(1)", "https://x/; script-src *", "'self'"]
)
def test_what_is_no_origin_cannot_frame(storage: Storage, agent: Agent, host: str):
    with pytest.raises(Invalid, match="hosts"):
        share(storage, agent, hosts=[host])


def test_an_hour_of_the_week_finds_its_conversations_once(storage: Storage, agent: Agent):
    week = 7 * DAY_US
    events = []
    for key, times in {
        "in": [MONDAY_US, MONDAY_US + week],
        "out": [MONDAY_US + 3_600_000_000],
        "late": [MONDAY_US + week],
    }.items():
        events += [described(key, times[0]), *(said(key, at_us) for at_us in times)]
    storage.write(accepting(agent, *events)).result()
    where = Filter(
        environment="production",
        counted_by="messages",
        counted_from=MONDAY_US - DAY_US,
        counted_to=MONDAY_US + 2 * week,
    )

    def ask(key: str, zone: str = "UTC") -> list[str] | None:
        found = storage.read(lambda store: hours.behind(store, scope_of(agent), where, key, ZoneInfo(zone)))
        return None if found is None else [head.conversation_id for head in found]

    assert ask("mon-10") == ["late", "in"]
    assert ask("mon-11", "Europe/Zagreb") == ["late", "in"]
    assert ask("tue-10") == []
    assert ask("someday") is None


def test_versions_come_from_metadata_and_changes_leave_out_the_first(storage: Storage, agent: Agent):
    events = []
    for day, version in enumerate(["1.0", "1.0", "1.1", 2]):
        at_us = MONDAY_US + day * DAY_US
        events += [
            described(f"v{day}", at_us, metadata={"agent_version": version, "plan": "x"}),
            said(f"v{day}", at_us),
        ]
    storage.write(accepting(agent, *events)).result()
    found = storage.read(lambda store: history.versions(store, scope_of(agent), "production"))
    assert [(version.value, version.conversations) for version in found] == [("2", 1), ("1.1", 1), ("1.0", 2)]
    assert [version.value for version in history.changes(found)] == ["1.1", "2"]
    assert storage.read(lambda store: history.versions(store, scope_of(agent), "development")) == []


def test_settings_are_an_organizations_own(storage: Storage, agent: Agent):
    def change(store: Store) -> None:
        mine = tenancy.ensure_organization(store, "acme", NOW_US)
        theirs = tenancy.ensure_organization(store, "others", NOW_US)
        stranger = tenancy.add_user(store, theirs, "s@example.com", "owner", (), NOW_US)
        foreign = tenancy.ensure_agent(store, theirs, "theirs", NOW_US)
        _, key = tenancy.issue_key(store, foreign, "write", NOW_US)
        for attempt in (
            lambda: people.member(store, mine.id, stranger.id),
            lambda: tenancy.rotate_key(store, mine.id, key, 0, NOW_US),
        ):
            with pytest.raises(NotFound):
                attempt()
        assert store.settings.revoke_key(mine.id, key.id, NOW_US) == store.settings.end_key(mine.id, key.id, 1) == 0
        assert key.id not in {one.id for one in store.settings.keys(mine.id)}
        changed = settings.set_general(store, mine, "Acme", "Europe/Zagreb", Sight(costs=False))
        assert store.tenants.organization(mine.id) == changed
        with pytest.raises(Invalid, match="timezone"):
            settings.set_general(store, changed, "Acme", "Mars/Olympus", Sight())
        settings.set_general(store, changed, "acme", "UTC", Sight())

    storage.write(change).result()
