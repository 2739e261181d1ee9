"""The audit log: appended with the act, filtered, and telling when somebody changed it."""

from __future__ import annotations

import uuid

import pytest

from agentsight.core import audit, tenancy
from agentsight.core.model import Principal, Scope
from agentsight.core.ports import Storage, Store
from storage.conftest import NOW_US


@pytest.fixture
def owner(storage: Storage) -> Principal:
    """Somebody in an organization of their own."""

    def make(store: Store) -> int:
        return tenancy.ensure_organization(store, uuid.uuid4().hex, NOW_US).id

    return Principal(Scope(storage.write(make).result(), ()), "owner", user_id=1, name="mia@example.com")


def noted(storage: Storage, who: Principal, *actions: str) -> None:
    for second, action in enumerate(actions):
        storage.write(
            lambda store, at=NOW_US + second * 1_000_000, action=action: audit.note(
                store, who, action, "ags_12345678", {"role": "write"}, "192.0.2.7", now_us=at
            )
        ).result()


def test_a_line_says_who_did_what_to_what_when_from_where(storage: Storage, owner: Principal):
    noted(storage, owner, "key.created")
    (line,) = storage.read(lambda store: store.audit.page(owner.scope.organization_id))
    assert (line.actor, line.role, line.action, line.subject) == (
        "mia@example.com",
        "owner",
        "key.created",
        "ags_12345678",
    )
    assert (line.number, line.at_us, line.ip, line.result) == (1, NOW_US, "192.0.2.7", "done")
    assert line.detail == {"role": "write"}


def test_the_log_is_read_newest_first_by_action_actor_and_time(storage: Storage, owner: Principal):
    noted(storage, owner, "key.created", "sign_in", "key.revoked", "sign_in")
    own = owner.scope.organization_id

    def numbers(**where: str | int | None) -> list[int]:
        return [line.number for line in storage.read(lambda store: store.audit.page(own, **where))]  # type: ignore[arg-type]

    assert numbers() == [4, 3, 2, 1]
    assert numbers(before=3) == [2, 1] and numbers(limit=1) == [4]
    assert numbers(action="key.") == [3, 1] and numbers(action="%") == []
    assert numbers(actor="mia@example.com") == [4, 3, 2, 1] and numbers(actor="somebody else") == []
    assert numbers(from_us=NOW_US + 1_000_000, to_us=NOW_US + 3_000_000) == [3, 2]


def test_organizations_have_logs_of_their_own(storage: Storage, owner: Principal):
    noted(storage, owner, "sign_in")
    assert storage.read(lambda store: store.audit.page(owner.scope.organization_id + 1_000)) == []


def test_an_act_that_fails_leaves_no_line(storage: Storage, owner: Principal):
    def change(store: Store) -> None:
        audit.note(store, owner, "key.created", now_us=NOW_US)
        raise ValueError("the act failed")

    with pytest.raises(ValueError, match="the act failed"):
        storage.write(change).result()
    assert storage.read(lambda store: store.audit.page(owner.scope.organization_id)) == []


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("SELECT 1", ""),
        ("UPDATE audit SET actor = 'nobody' WHERE organization_id = {own} AND number = 2", "line 2 was changed"),
        ("UPDATE audit SET detail = '{{}}' WHERE organization_id = {own} AND number = 1", "line 1 was changed"),
        ("DELETE FROM audit WHERE organization_id = {own} AND number = 2", "line 2 is missing"),
        ("DELETE FROM audit WHERE organization_id = {own} AND number = 3", "lines after 2 are missing"),
    ],
)
def test_whoever_changes_the_log_is_found_out(storage: Storage, owner: Principal, tampering: str, said: str):
    noted(storage, owner, "sign_in", "key.created", "key.revoked")
    own = owner.scope.organization_id

    def tamper(store: Store) -> None:
        store._driver.run(tampering.format(own=own))  # type: ignore[attr-defined]

    storage.write(tamper).result()
    assert storage.read(lambda store: audit.broken(store, own)) == said
