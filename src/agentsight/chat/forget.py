"""A user taken out of the chat database for good, with everything they said and made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from .database import Database
from .schema import Conversation, Message, Run, Task, ToolRun
from .settings import Settings


def forget(data: Path, user_id: str) -> dict[str, int]:
    """Remove the user's conversations, runs and tasks, and what is left of them in free pages; gives rows by table."""
    db = Database(Settings.from_env(data).database_url)
    try:
        with db.write() as s:
            own = select(Conversation.id).where(Conversation.user_id == user_id)
            runs = select(Run.id).where(Run.user_id == user_id)
            which: dict[str, Any] = {
                "tool_calls": delete(ToolRun).where(ToolRun.run_id.in_(runs)),
                "runs": delete(Run).where(Run.user_id == user_id),
                "messages": delete(Message).where(Message.conversation_id.in_(own)),
                "conversations": delete(Conversation).where(Conversation.user_id == user_id),
                "tasks": delete(Task).where(Task.user_id == user_id),
            }
            gone = {name: int(s.execute(step).rowcount) for name, step in which.items()}  # type: ignore[attr-defined]
        if db.is_sqlite and any(gone.values()):
            with db.engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                for statement in ("PRAGMA secure_delete = ON", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    raw.execute(statement).fetchall()
        return gone
    finally:
        db.close()
