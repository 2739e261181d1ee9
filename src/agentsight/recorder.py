"""What stands behind the tracker's names: settings at first use, keeping what was tracked, handing it over to be sent.

It knows nothing of questions and answers; `tracker.py` gives it labelled fields.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import datetime
from typing import Any

from . import lifetime, wire
from .buffer import ITEM_BYTES, Buffer, Item, Mark
from .config import Config, Settings
from .enums import LogLevel
from .errors import InvalidEvent
from .exceptions import InvalidConversationDataException, NoApiKeyException, NoDataToSendException
from .helpers.conversation_utils import generate_conversation_id
from .outbox import Ticket
from .parcels import sound
from .scope import Scope, ScopedConfig
from .sender import EXIT_S, Sender
from .tokens import Tokens
from .transport import HTTPClient

_UNSET: Any = object()

logger = logging.getLogger("agentsight")


class Recorder:
    """Keeps labelled items per conversation and has them delivered."""

    _instance_lock = threading.Lock()

    def _prepare(self) -> None:
        self._awake = self._ready = self._eager = self._ending = False
        self._config: Config | None = None
        self._settings: Settings | None = None
        self._http: HTTPClient | None = None
        self._scope = Scope()
        self._buffer = Buffer()
        self._delivery = Sender(self._buffer, lambda: self.config, lambda: self.settings)
        self._tokens = Tokens()
        self._swept: dict[str, None] = {}

    # -- settings ----------------------------------------------------------------------------------------------------
    @property
    def config(self) -> Config:
        """The settings in use; read from the environment the first time somebody asks."""
        if self._config is None:
            self._adopt_config(Config.from_environment())
        return self._config  # type: ignore[return-value]

    @property
    def settings(self) -> Settings:
        """How events are delivered; read from the environment the first time somebody asks."""
        if self._settings is None:
            self._settings = Settings()
        return self._settings

    def configure(
        self,
        api_key: str | None = _UNSET,
        conversation_id: str | None = _UNSET,
        endpoint: str | None = _UNSET,
        log_level: LogLevel | str | None = _UNSET,
        **kwargs: Any,
    ) -> None:
        """Change the settings that are named; `conversation_id` switches the conversation.

        Raises:
            NoApiKeyException: `api_key` is None or empty; the old one stays.
            InvalidApiKeyException: `api_key` cannot be one; the old one stays.
        """
        if api_key is None or api_key == "":
            raise NoApiKeyException("API key cannot be None")
        named = {"api_key": api_key, "endpoint": endpoint, "log_level": log_level, **kwargs}
        named = {name: value for name, value in named.items() if value is not _UNSET}
        if named:
            self.config.configure(**named)
            if "log_level" in named:
                _set_level(self.config)
            if named.keys() & {"api_key", "endpoint"}:
                self._http = None
                self._delivery.reconfigured()
        if conversation_id is not _UNSET and conversation_id:
            self._scope.enter(readable_id(conversation_id))

    def _adopt_config(self, base: Config) -> None:
        started_in = base.conversation_id
        scoped = ScopedConfig(
            api_key=base.api_key or "",
            endpoint=base.endpoint,
            app_url=base.app_url,
            environment=base.environment,
            conversation_id=started_in,
            token_handler=base.token_handler or "",
            log_level=base.log_level,
        )
        scoped.scope = self._scope
        self._config = scoped
        self._http = None
        _set_level(scoped)

    @property
    def _client(self) -> HTTPClient:
        if self._http is None:
            self._http = HTTPClient(self.config)
        return self._http

    def _wake(self) -> None:
        """First use: settings are read, the end of the process is taken care of, frameworks are counted."""
        if not self._awake:
            with self._instance_lock:
                if not self._awake:
                    lifetime.watch(self)
                    self._awake = True
                    self._eager = self.settings.spool == "always" or self.settings.auto_send_s > 0
                    self._start_counting()
        self._ready = lifetime.watch_signal()

    def _start_counting(self) -> None:
        handler = self.config.token_handler
        if handler:
            from .integrations import install

            install(getattr(handler, "value", str(handler)), self)

    # -- keeping -----------------------------------------------------------------------------------------------------
    def _here(self) -> str:
        """The current conversation, a new one when there is none."""
        conversation_id = self._scope.current()
        if conversation_id is None:
            conversation_id = self.config.conversation_id
            if conversation_id is None:
                conversation_id = generate_conversation_id()
                self._scope.enter(conversation_id)
        return conversation_id

    def _add(self, label: str, kind: str, fields: dict[str, Any], size: int = 0, mark: Mark | None = None) -> None:
        checked = self._checked(kind, fields)
        files = checked.get("attachments") or ()
        size += weight(files) + (len(str(checked["metadata"])) if checked.get("metadata") else 0)
        self._keep(label, kind, checked, size, max(1, len(files)), mark)

    def _keep(
        self, label: str, kind: str, fields: dict[str, Any], size: int, span: int, mark: Mark | None = None
    ) -> None:
        if not self._ready:
            self._wake()
        item, kept = self._buffer.add(
            label, kind, self._scope.current() or self._here(), fields, size + ITEM_BYTES, span, mark
        )
        if not kept:
            self._make_room(item, span)
        elif self._eager:
            self._kept(item)

    def _checked(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """What the contract says about these fields, in the words callers know."""
        if kind == "attachment":
            return fields
        try:
            checked = sound(kind, fields)
        except InvalidEvent as wrong:
            raise InvalidConversationDataException(str(wrong), field=wrong.field, reason=wrong.reason) from None
        absent = {name: None for name in fields if fields[name] is None}
        given: dict[str, Any] = {name: fields[name] for name in ("started_at", "ended_at") if name in checked}
        return {**absent, **checked, **given}

    def _kept(self, item: Item) -> None:
        if self._ending or self.settings.spool == "always":
            self._delivery.write_through(item)
        if self.settings.auto_send_s:
            self._delivery.hurry()

    def _make_room(self, item: Item, span: int) -> None:
        """Memory is full: everything is sent now, and the newest goes to disk or is lost and counted."""
        if not self._delivery.spill(item):
            self._delivery.lost("queue_full", span, "too much waits to be sent")
        self._delivery.hurry()

    def _add_tokens(self, conversation_id: str) -> None:
        """Its tokens become events, one a model."""
        for fields in self._tokens.take(conversation_id):
            item, kept = self._buffer.add("action", "token_usage", conversation_id, fields, ITEM_BYTES)
            if not kept:
                self._make_room(item, 1)

    # -- handing over ------------------------------------------------------------------------------------------------
    def _submit(self, wait_s: float) -> Ticket | None:
        """Hand over what is due; None when somebody else has sent it already."""
        self._wake()
        self.config.key  # noqa: B018  says at once that there is none
        current = self._due()
        with self._buffer.lock:
            items = self._take(current)
            if items:
                return self._delivery.submit(items, wait_s=wait_s)
        again = self._delivery.queued(current)
        if again:
            return self._delivery.submit(again, again=True, wait_s=wait_s)
        with self._buffer.lock:
            swept = current if current in self._swept else next(iter(self._swept), None) if current is None else None
            if swept is not None:
                del self._swept[swept]
                return None
        raise NoDataToSendException(f"No tracked data found for conversation: {current}")

    def _due(self) -> str | None:
        """The conversation to send; None: all that wait.

        A request that knows of no conversation of its own sees the one the script set last. Where that holds nothing,
        it is not what this request tracked.
        """
        current = self.config.conversation_id
        if current is not None and not self._scope.is_own() and not self._holds(current):
            return None
        return current

    def _holds(self, conversation_id: str) -> bool:
        waiting = conversation_id in self._buffer.pending or conversation_id in self._tokens
        return waiting or bool(self._delivery.queued(conversation_id))

    def _take(self, current: str | None) -> list[Item]:
        """The items of one conversation, or of all when this code is in none, with their token usage."""
        with self._buffer.lock:
            names = [current] if current is not None else [*{**self._buffer.pending, **dict.fromkeys(self._tokens)}]
            for name in names:
                self._add_tokens(name)
            items = [item for name in names for item in self._buffer.pending.pop(name, ())]
            if current is None:
                for name in names[1:]:
                    self._swept[name] = None
                while len(self._swept) > 10_000:
                    del self._swept[next(iter(self._swept))]
            return items

    def flush(self, timeout_s: float = EXIT_S) -> None:
        """Deliver everything of every conversation within `timeout_s`; what is left goes to the spool."""
        if self._awake:
            with self._buffer.lock:
                for name in list(self._tokens):
                    self._add_tokens(name)
            self._delivery.close(timeout_s)

    def forget(self) -> int:
        """Drop whatever waits to be delivered, for a caller who keeps it elsewhere; gives the number of items."""
        with self._buffer.lock:
            self._tokens, self._swept = Tokens(), {}
        return self._delivery.forget()

    def end_soon(self) -> None:
        """The host is about to end: deliver what there is in a second; what is still tracked is on disk at once."""
        self.flush(1.0)
        self._ending = self._eager = True

    def after_fork(self) -> None:
        """In the child: what the parent tracked is the parent's to send."""
        type(self)._instance_lock = threading.Lock()
        self._buffer.reset()
        self._delivery.after_fork()
        self._tokens, self._swept, self._http = Tokens(), {}, None
        self._awake = self._ready = self._ending = False


def weight(files: Any) -> int:
    """How many bytes these files hold in memory."""
    return sum(len(file["data"]) for file in files)


def mark_of(event_id: Any, occurred_at: Any) -> Mark | None:
    """What a caller says of an event's id and time; None when that is nothing.

    Raises:
        InvalidConversationDataException: the contract takes no such id, or no such time.
    """
    if event_id is None and occurred_at is None:
        return None
    if isinstance(occurred_at, datetime):
        occurred_at = occurred_at.isoformat()
    try:
        return Mark(
            None if event_id is None else wire.read_event_id(event_id, "event_id"),
            None if occurred_at is None else wire.read_instant(occurred_at, "occurred_at"),
        )
    except InvalidEvent as wrong:
        raise InvalidConversationDataException(str(wrong), field=wrong.field, reason=wrong.reason) from None


def readable_id(value: Any) -> str:
    """A conversation id the contract takes: blank ones are replaced, odd ones made plain, always the same way."""
    plain = getattr(value, "value", value)
    text = "" if plain is None else str(plain)
    if not text.strip():
        logger.warning("AgentSight: a conversation id was empty; a new one is made")
        return generate_conversation_id()
    try:
        return wire.read_conversation_id(text)
    except InvalidEvent as wrong:
        logger.warning("AgentSight: a conversation id was changed: %s", wrong)
        text = wire.storable("".join(char if char.isprintable() else "_" for char in text))
        if len(text) <= wire.MAX_NAME_CHARS:
            return text
        import hashlib

        return f"{text[:200]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _set_level(config: Config) -> None:
    if os.environ.get("AGENTSIGHT_LOG_LEVEL") or config.log_level is not LogLevel.INFO:
        logger.setLevel(str(getattr(config.log_level, "value", config.log_level)))
