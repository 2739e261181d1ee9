"""The to-do tasks of each user, as the todo tools keep them."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from agentsight.chat.database import Database, now_us
from agentsight.chat.schema import Task

MAX_TASKS = 1000
Status = Literal["all", "pending", "completed"]


class NoSuchTask(LookupError):
    """This user has no task of that number."""


class Tasks:
    """Every method is one transaction and sees the tasks of one user only."""

    def __init__(self, db: Database):
        self.db = db

    def add(self, user_id: str, title: str, description: str = "") -> dict[str, Any]:
        """The new task."""
        with self.db.write() as s:
            stamp = now_us()
            task = Task(user_id=user_id, title=title, description=description, created_us=stamp, updated_us=stamp)
            s.add(task)
            s.flush()
            return _view(task)

    def list(self, user_id: str, status: Status = "all") -> list[dict[str, Any]]:
        """The tasks, oldest first."""
        query = select(Task).where(Task.user_id == user_id).order_by(Task.id).limit(MAX_TASKS)
        if status != "all":
            query = query.where(Task.completed.is_(status == "completed"))
        with self.db.read() as s:
            return [_view(task) for task in s.scalars(query)]

    def change(self, user_id: str, task_id: int, **fields: str | bool | None) -> dict[str, Any]:
        """The task with every field that is not None changed. Raises NoSuchTask."""
        with self.db.write() as s:
            task = _find(s, user_id, task_id)
            for name, value in fields.items():
                if value is not None:
                    setattr(task, name, value)
            task.updated_us = now_us()
            return _view(task)

    def delete(self, user_id: str, task_id: int) -> dict[str, Any]:
        """The task that is gone now. Raises NoSuchTask."""
        with self.db.write() as s:
            task = _find(s, user_id, task_id)
            s.delete(task)
            return _view(task)


def _find(s: Session, user_id: str, task_id: int) -> Task:
    task = s.scalar(select(Task).where(Task.id == task_id, Task.user_id == user_id))
    if task is None:
        raise NoSuchTask(f"There is no task {task_id}.")
    return task


def _view(task: Task) -> dict[str, Any]:
    return {"id": task.id, "title": task.title, "description": task.description, "completed": task.completed}
