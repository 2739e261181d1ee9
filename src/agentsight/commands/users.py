"""agentsight users: people who sign in to the dashboard."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from agentsight.core import audit, people, sessions, tenancy
from agentsight.core.model import Agent, Organization, User
from agentsight.core.ports import Store
from agentsight.errors import NotFound
from agentsight.server.settings import Settings
from agentsight.wire import instant

from .options import AsJson, Data, Database, OrganizationName, Refusal, change, find_agent, now_us, opened, show

app = typer.Typer(help="People who sign in to the dashboard.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Who signs in")]
Agents = Annotated[list[str] | None, typer.Option("--agent", help="An agent they may see; repeat it. Default: all")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read their password from standard input")]


@app.command()
def create(
    email: Email,
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    role: Annotated[str, typer.Option(help="owner, member, or client (sees chosen agents)")] = "owner",
    agent: Agents = None,
    password_stdin: PasswordStdin = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Add a person, or let one who is there in again.

    Prints a sign-in link that works once, within a day.
    With a password given there is nothing to print.
    """
    kept = _hashed(email) if password_stdin else None
    with opened(data, database) as (settings, storage):

        def make(store: Store) -> str | None:
            user = _add(store, organization, email, role, agent or [])
            if kept is None:
                return tenancy.issue_link(store, user, now_us())
            _set_password(store, user, kept)
            return None

        token = change(storage, make)
        if token:
            typer.echo(link(settings, token))


def _hashed(email: str) -> str:
    return people.new_password(sys.stdin.readline().rstrip("\r\n"), email)


def _set_password(store: Store, user: User, kept: str) -> None:
    people.set_password(store, user, kept, now_us())
    _note(store, user, "password.changed")


def _note(store: Store, user: User, action: str, **detail: object) -> None:
    who = audit.command_line(user.organization_id)
    audit.note(store, who, action, user.email, detail, now_us=now_us())


def _add(store: Store, organization: str, email: str, role: str, names: list[str]) -> User:
    owner = tenancy.ensure_organization(store, organization, now_us())
    agents: tuple[Agent, ...] = tuple(find_agent(store, organization, name)[1] for name in names)
    is_new = store.tenants.user_by_email(tenancy.address(email)) is None
    user = tenancy.add_user(store, owner, email, role, agents, now_us())
    if is_new:
        _note(store, user, "person.created", role=user.role)
    return user


def link(settings: Settings, token: str) -> str:
    """Where a one-time token signs in."""
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    return f"{base}/login?token={token}"


@app.command("list")
def list_users(as_json: AsJson = False, data: Data = None, database: Database = None) -> None:
    """Everybody who may sign in."""
    with opened(data, database) as (_, storage):
        rows = storage.read(_everybody)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("Nobody yet. Add somebody: agentsight users create EMAIL")
        return
    show(
        ("EMAIL", "NAME", "ORGANIZATION", "ROLE", "AGENTS", "LAST SIGN-IN"),
        (
            (
                row["email"],
                row["name"],
                row["organization"],
                row["role"],
                ", ".join(row["agents"]) or "all",
                (row["signed_in_at"] or "never")[:16].replace("T", " "),
            )
            for row in rows
        ),
    )


def _everybody(store: Store) -> list[dict[str, Any]]:
    return [
        _plain(store, owner, user) for owner in store.tenants.organizations() for user in store.settings.users(owner.id)
    ]


def _plain(store: Store, organization: Organization, user: User) -> dict[str, Any]:
    names = [agent.name for agent in store.tenants.agents(organization.id) if agent.id in user.agent_ids]
    return {
        "email": user.email,
        "name": user.name,
        "organization": organization.name,
        "role": user.role,
        "agents": names,
        "has_password": user.has_password,
        "signed_in_at": None if user.signed_in_us is None else instant(user.signed_in_us),
    }


def _known(store: Store, email: str) -> User:
    found = store.tenants.user_by_email(email.strip().lower())
    if found is None:
        raise NotFound(f"nobody has the address {email}; see: agentsight users list")
    return found


@app.command("link")
def new_link(email: Email, data: Data = None, database: Database = None) -> None:
    """A new sign-in link for somebody who is there.

    It works once, within a day.
    """
    with opened(data, database) as (settings, storage):

        def make(store: Store) -> str:
            user = _known(store, email)
            _note(store, user, "person.link_made")
            return tenancy.issue_link(store, user, now_us())

        typer.echo(link(settings, change(storage, make)))


@app.command("change")
def change_user(
    email: Email,
    role: Annotated[str | None, typer.Option(help="owner, member or client")] = None,
    agent: Agents = None,
    all_agents: Annotated[bool, typer.Option("--all-agents", help="Let them see every agent")] = False,
    password_stdin: PasswordStdin = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Give somebody another role, other agents or a password.

    A new role or password ends their sessions.
    """
    if role is None and not agent and not all_agents and not password_stdin:
        raise Refusal("say what to change: --role, --agent, --all-agents or --password-stdin")
    kept = _hashed(email) if password_stdin else None
    with opened(data, database) as (_, storage):

        def make(store: Store) -> None:
            user = _known(store, email)
            owner = store.tenants.organization(user.organization_id)
            names = [find_agent(store, owner.name, name)[1].id for name in agent or []] if owner else []
            seen = () if all_agents else tuple(names) or user.agent_ids
            after = people.change(store, user, role or user.role, seen, now_us())
            if (after.role, after.agent_ids) != (user.role, user.agent_ids):
                _note(store, user, "person.changed", **{"from": user.role, "to": after.role, "agents": list(seen)})
            if kept is not None:
                _set_password(store, user, kept)

        change(storage, make)
    typer.echo(f"Changed {email}")


@app.command()
def remove(email: Email, data: Data = None, database: Database = None) -> None:
    """Take somebody's access away; what they saved stays. The last owner of an organization cannot go."""
    with opened(data, database) as (_, storage):

        def make(store: Store) -> None:
            user = _known(store, email)
            people.remove(store, user)
            _note(store, user, "person.removed", role=user.role)

        change(storage, make)
    typer.echo(f"Removed {email}")


@app.command("sign-out")
def sign_out(email: Email, data: Data = None, database: Database = None) -> None:
    """End every session of somebody."""
    with opened(data, database) as (_, storage):

        def make(store: Store) -> None:
            user = _known(store, email)
            sessions.end_all(store, user.id, now_us())
            _note(store, user, "person.signed_out")

        change(storage, make)
    typer.echo(f"Signed {email} out everywhere")
