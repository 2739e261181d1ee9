"""Sessions, invitations, failed sign-ins and keys: kept alike by every engine."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from agentsight.core import people, sessions, tenancy, throttle
from agentsight.core.model import Agent, User
from agentsight.core.ports import Storage, Store
from agentsight.errors import Invalid, NotFound, RateLimited
from storage.conftest import NOW_US

HOUR_US = 3_600_000_000


def person(storage: Storage, agent: Agent, role: str = "owner") -> User:
    def make(store: Store) -> User:
        organization = store.tenants.organization(agent.organization_id)
        assert organization
        return tenancy.add_user(store, organization, f"{uuid.uuid4().hex}@example.com", role, (), NOW_US)

    return storage.write(make).result()


def test_a_session_is_found_seen_and_ended(storage: Storage, agent: Agent):
    user = person(storage, agent)
    tokens = [storage.write(lambda store: sessions.start(store, user, NOW_US, "192.0.2.1")).result() for _ in range(2)]
    digest = tenancy.digest(tokens[0])
    storage.write(lambda store: store.people.see_session(digest, NOW_US + HOUR_US, "192.0.2.2")).result()

    def look(store: Store) -> list[str | None]:
        return [one.ip for one in sessions.of(store, user.id, NOW_US + HOUR_US)]

    assert storage.read(look) == ["192.0.2.2", "192.0.2.1"], "the latest seen first"
    storage.write(lambda store: sessions.end_one(store, user.id, digest[:16])).result()
    with pytest.raises(NotFound):
        storage.write(lambda store: sessions.end_one(store, user.id, digest[:16])).result()
    assert storage.read(lambda store: sessions.find(store, tokens[0], NOW_US)) is None
    storage.write(lambda store: sessions.end_all(store, user.id, NOW_US + 5)).result()
    assert storage.read(lambda store: sessions.find(store, tokens[1], NOW_US)) is None
    changed = storage.read(lambda store: store.tenants.user(user.id))
    assert changed and (changed.signed_in_us, changed.signed_out_us) == (NOW_US, NOW_US + 5)


def test_an_invitation_is_accepted_once(storage: Storage, agent: Agent):
    owner, email = person(storage, agent), f"{uuid.uuid4().hex}@example.com"

    def invite(store: Store) -> str:
        organization = store.tenants.organization(agent.organization_id)
        assert organization
        who = sessions.principal(store, owner)
        return people.invite(store, who, organization, email, "client", (agent,), 7, NOW_US)[0]

    token = storage.write(invite).result()
    user = storage.write(lambda store: people.accept(store, token, "Mia", "a hash", NOW_US)).result()
    kept = storage.read(lambda store: (store.tenants.user(user.id), store.people.password(user.id)))
    assert kept == (replace(user, has_password=True), "a hash") and user.agent_ids == (agent.id,)
    with pytest.raises(NotFound):
        storage.write(lambda store: people.accept(store, token, "Mia", "another", NOW_US)).result()
    with pytest.raises(Invalid, match="already"):
        storage.write(invite).result()


def test_failures_are_counted_forgotten_and_lead_to_a_wait(storage: Storage):
    whose = throttle.names(uuid.uuid4().hex, None)

    def fail(at_us: int) -> None:
        storage.write(lambda store: throttle.failed(store, whose, at_us)).result()

    def waits(at_us: int) -> bool:
        try:
            storage.read(lambda store: throttle.require(store, whose, at_us))
        except RateLimited:
            return True
        return False

    for _ in range(throttle.ACCOUNT.free - 1):
        fail(NOW_US)
    assert not waits(NOW_US)
    for _ in range(20):
        fail(NOW_US)
    assert waits(NOW_US + 59_000_000) and not waits(NOW_US + 61_000_000), "a minute at most"
    later = NOW_US + throttle.FORGOTTEN_US + 1
    fail(later)
    assert not waits(later), "long ago counts as never"


def test_of_two_keys_the_old_one_ends_with_the_overlap(storage: Storage, agent: Agent):
    def change_over(store: Store) -> tuple[str, str]:
        old, row = tenancy.issue_key(store, agent, "read", NOW_US, name="production")
        new, _ = tenancy.rotate_key(store, agent.organization_id, row, HOUR_US, NOW_US, "mia@example.com")
        return old, new

    old, new = storage.write(change_over).result()
    for key in (old, new):
        assert storage.read(lambda store, key=key: tenancy.verify_key(store, key, NOW_US)).role == "read"
    assert storage.read(lambda store: tenancy.verify_key(store, new, NOW_US + 2 * HOUR_US)).agent == agent
    with pytest.raises(Exception, match="expired"):
        storage.read(lambda store: tenancy.verify_key(store, old, NOW_US + 2 * HOUR_US))
