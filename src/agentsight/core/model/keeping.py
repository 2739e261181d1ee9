"""What is let go of."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Removed:
    """What was taken out for good. `files` are the hashes of the attachments that went with it."""

    conversations: int = 0
    messages: int = 0
    other_events: int = 0
    feedback: int = 0
    attachments: int = 0
    spans: int = 0
    tickets: int = 0
    files: set[str] = field(default_factory=set)
    buttons: set[tuple[str, str, str]] = field(default_factory=set)  # (button_event, label, value) of the clicks

    def add(self, other: Removed) -> None:
        for name in ("conversations", "messages", "other_events", "feedback", "attachments", "spans", "tickets"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.files |= other.files
        self.buttons |= other.buttons
