"""Saved views: a name for the address of an analytics page or a list, for oneself or for everybody in the organization."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from urllib.parse import parse_qsl

from agentsight.errors import Invalid, NotFound

from .model import Organization
from .ports import Store

PLACES = ("analytics", "conversations")
MOST = 200  # of an organization
MOST_CHARS = 4_000
_SETTING = "views"


@dataclass(frozen=True, slots=True)
class View:
    """`query` is the page's, with its `?`; `author` is a user's id."""

    id: str
    name: str
    place: str
    query: str
    author: int
    shared: bool = False


def seen(organization: Organization, user_id: int) -> list[View]:
    """One's own and those of everybody, by name."""
    own = [view for view in _all(organization) if view.shared or view.author == user_id]
    return sorted(own, key=lambda view: view.name.lower())


def save(store: Store, organization_id: int, new: View) -> View:
    """Keep a view; its `id` is ours to give. One with the same name, place and author is replaced. Raises Invalid."""
    name = new.name.strip()
    if not name or len(name) > 80 or not name.isprintable():
        raise Invalid.of("name", "must be 1 to 80 characters")
    if new.place not in PLACES or len(new.query) > MOST_CHARS:
        raise Invalid.of("view", "cannot be saved")
    organization = _organization(store, organization_id)
    kept = [
        view for view in _all(organization) if (view.name, view.place, view.author) != (name, new.place, new.author)
    ]
    if len(kept) >= MOST:
        raise Invalid.of("name", f"there are {MOST} views already; delete one first")
    saved = replace(new, id=secrets.token_urlsafe(8), name=name)
    _keep(store, organization, [*kept, saved])
    return saved


def delete(store: Store, organization_id: int, id: str, user_id: int, *, any_shared: bool) -> None:
    """Let a view go: one's own, or with `any_shared` also another's that everybody sees. Raises NotFound."""
    organization = _organization(store, organization_id)
    views = _all(organization)
    gone = next((view for view in views if view.id == id), None)
    if gone is None or (gone.author != user_id and not (any_shared and gone.shared)):
        raise NotFound("there is no such view")
    _keep(store, organization, [view for view in views if view is not gone])


def forget(store: Store, organization_id: int, texts: Collection[str]) -> int:
    """Remove the views that quote one of these; gives how many."""
    organization = _organization(store, organization_id)
    views = _all(organization)
    kept = [
        view
        for view in views
        if view.name not in texts and not any(value in texts for _, value in parse_qsl(view.query.lstrip("?")))
    ]
    if len(kept) < len(views):
        _keep(store, organization, kept)
    return len(views) - len(kept)


def _organization(store: Store, id: int) -> Organization:
    found = store.tenants.organization(id)
    if found is None:
        raise NotFound("there is no such organization")
    return found


def _all(organization: Organization) -> list[View]:
    return [View(**told) for told in organization.settings.get(_SETTING) or ()]


def _keep(store: Store, organization: Organization, views: list[View]) -> None:
    settings = {**organization.settings, _SETTING: [asdict(view) for view in views]}
    store.settings.keep_organization(replace(organization, settings=settings))
