"""One file a group of commands; `app` is all of them."""

from __future__ import annotations

import typer

from . import backups, chatting, copying, exports, imports, keeping, keys, maintenance, organizations, serving, users

app = typer.Typer(
    name="agentsight",
    help="See what your AI agents say and do: the server, its data and its keys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
serving.register(app)
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")
app.add_typer(organizations.app, name="organization")
app.add_typer(chatting.app, name="chat")
imports.register(app)
exports.register(app)
keeping.register(app)
backups.register(app)
copying.register(app)
maintenance.register(app)
