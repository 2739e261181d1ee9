"""Tracking: what people and agents say and do, kept in order until `send_tracked_data()` delivers it in one request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from . import summary, wire
from .buffer import ITEM_BYTES, Mark
from .config import Config
from .enums import AttachmentMode, Environment, LogLevel, Sender, TokenHandlerType
from .errors import AgentSightError
from .exceptions import (
    InvalidAnswerDataException,
    InvalidConversationDataException,
    InvalidQuestionDataException,
    MissingConversationIdException,
    NoApiKeyException,
)
from .helpers.attachments import read_attachments
from .helpers.conversation_utils import get_iso_timestamp
from .outbox import WAIT_S
from .parcels import sound
from .recorder import Recorder, mark_of, readable_id, weight
from .scope import in_event_loop
from .snapshot import cut, snapshot
from .types import AttachmentInput

_UNSET: Any = object()

logger = logging.getLogger("agentsight")


class ConversationTracker(Recorder):
    """Records conversations; one object for the whole process, however often it is constructed.

    Every `track_*` call returns at once and touches neither network nor disk. Which conversation it belongs to is
    known per asyncio task and per thread, so concurrent requests never mix; in a plain script the conversation set
    last is current everywhere.

    Raises:
        NoApiKeyException, InvalidApiKeyException: constructed without a usable key. Importing and using
            `conversation_tracker` needs none before the first send.
    """

    _instance: ConversationTracker | None = None
    _instance_lock = threading.Lock()
    _explicit = False
    _told_development = False

    def __new__(cls, *args: Any, **kwargs: Any) -> ConversationTracker:
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = object.__new__(cls)
                cls._instance._prepare()
            return cls._instance

    def __init__(
        self,
        api_key: str | None = None,
        conversation_id: str | None = None,
        endpoint: str | None = None,
        log_level: LogLevel | str | None = None,
        config: Config | None = None,
        **kwargs: Any,
    ):
        given = {"api_key": api_key, "conversation_id": conversation_id, "endpoint": endpoint, "log_level": log_level}
        given = {name: value for name, value in {**given, **kwargs}.items() if value is not None}
        if self._explicit:
            if given or config is not None:
                logger.warning("AgentSight is set up already; use configure() to change settings. Ignored: %s",
                               ", ".join([*given, *(["config"] if config is not None else [])]))  # fmt: skip
            return
        base = config.copy() if config is not None else (self._config or Config())
        base.configure(**given)
        if not base.api_key:
            raise NoApiKeyException()
        self._adopt_config(base)
        self._explicit = True

    @classmethod
    def separate(
        cls,
        api_key: str | None = None,
        endpoint: str | None = None,
        environment: str | Environment | None = None,
        *,
        spool: str | None = None,
        background: bool = True,
    ) -> ConversationTracker:
        """A tracker beside the process's own one: for another agent's key, or to deliver in another way.

        `spool` overrides AGENTSIGHT_SPOOL. Without `background` nothing is sent but by `send_tracked_data()`, on the
        thread that calls it.

        Raises:
            NoApiKeyException, InvalidApiKeyException: there is no usable key.
        """
        one = object.__new__(cls)
        one._prepare()
        one._adopt_config(Config(api_key=api_key, endpoint=endpoint, environment=environment, token_handler=""))
        one.config.key  # noqa: B018  says at once that there is none
        one._explicit = True
        one.settings.spool = spool or one.settings.spool
        one.settings.threaded = background and one.settings.threaded
        return one

    # -- conversations -----------------------------------------------------------------------------------------------
    def get_or_create_conversation(
        self,
        conversation_id: str | None = None,
        customer_id: str | None = None,
        customer_ip_address: str | None = None,
        device: str | None = None,
        source: str | None = None,
        language: str | None = None,
        name: str | None = None,
        environment: str | Environment = "development",
        metadata: dict[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Make this the current conversation and record what is known about it; nothing is sent yet.

        Only `environment="production"` counts in analytics. The environment variable AGENTSIGHT_ENVIRONMENT, when set,
        overrides this argument.
        """
        mark = mark_of(event_id, occurred_at)
        conversation_id = readable_id(conversation_id)
        self._scope.enter(conversation_id)
        fields = self._conversation_fields(
            conversation_id, customer_id, customer_ip_address, device, source, language, name, environment, metadata
        )
        self._add("conversation", "conversation", {**fields, "is_used": True}, mark=mark)

    def initialize_conversation(
        self,
        conversation_id: str,
        customer_id: str | None = None,
        customer_ip_address: str | None = None,
        device: str | None = None,
        source: str | None = None,
        language: str | None = None,
        name: str | None = None,
        environment: str | Environment = "development",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Create a conversation on the server now, as opened but not used yet; the current conversation stays.

        On an event loop the request is made by a thread and this returns at once.

        Raises:
            MissingConversationIdException: the id is blank.
            ConversationApiException, ConversationNetworkException: the server refused, or did not answer.
        """
        if not str(conversation_id or "").strip():
            raise MissingConversationIdException()
        fields = self._conversation_fields(
            conversation_id, customer_id, customer_ip_address, device, source, language, name, environment, metadata
        )
        body = {"timestamp": get_iso_timestamp(), **fields, "is_used": False}
        self._wake()
        self.config.key  # noqa: B018  says at once that there is none
        if in_event_loop():
            threading.Thread(target=self._initialize_later, args=(body,), daemon=True).start()
        else:
            self._client.call("POST", "/api/conversations/", body, repeatable=True)

    def _initialize_later(self, body: dict[str, Any]) -> None:
        try:
            self._client.call("POST", "/api/conversations/", body, repeatable=True)
        except AgentSightError as trouble:
            logger.warning("AgentSight could not initialize a conversation now (%s); it is tried again", trouble)
            fields = sound("conversation", body)
            item, kept = self._buffer.add("conversation", "conversation", body["conversation_id"], fields, ITEM_BYTES)
            if kept:
                self._delivery.submit(self._take(item.conversation_id))

    def _conversation_fields(
        self,
        conversation_id: str,
        customer_id: Any,
        customer_ip_address: Any,
        device: Any,
        source: Any,
        language: Any,
        name: Any,
        environment: Any,
        metadata: Any,
    ) -> dict[str, Any]:
        environment = self.config.environment or environment
        counts = wire.read_environment(environment) == "production"
        if not counts and not self._told_development:
            self._told_development = True
            logger.warning(
                "AgentSight: conversations in the environment %r stay out of analytics; "
                "pass environment='production' or set AGENTSIGHT_ENVIRONMENT=production to count them",
                getattr(environment, "value", environment),
            )
        return {
            "conversation_id": conversation_id,
            "customer_id": customer_id,
            "customer_ip_address": customer_ip_address,
            "device": device,
            "source": source,
            "language": language,
            "name": name,
            "environment": getattr(environment, "value", environment),
            "metadata": None if metadata is None else snapshot(metadata),
        }

    @contextmanager
    def _within(self, conversation_id: str | None, details: dict[str, Any]) -> Iterator[ConversationTracker]:
        before = self._scope.mark()
        if details:
            self.get_or_create_conversation(conversation_id, **details)
        else:
            self._scope.enter(readable_id(conversation_id))
        try:
            yield self
        finally:
            self._scope.leave(before)

    def conversation(self, conversation_id: str | None = None, **details: Any) -> _Within:
        """A block, `with` or `async with`, inside which this conversation is current.

        `details` are those of `get_or_create_conversation`. Nothing is sent at the end of the block.
        """
        return _Within(self._within(conversation_id, details))

    # -- events ------------------------------------------------------------------------------------------------------
    def track_human_message(
        self,
        message: Any = None,
        attachments: list[AttachmentInput] | None = None,
        attachment_mode: str | AttachmentMode = "base64",
        metadata: dict[str, Any] | None = None,
        *,
        question: Any = None,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Record what a person said. Raises InvalidQuestionDataException when that is nothing."""
        content = message if message is not None else question
        mark = mark_of(event_id, occurred_at)
        self._say(
            "question", "end_user", content, InvalidQuestionDataException, attachments, attachment_mode, metadata, mark
        )

    def track_agent_message(
        self,
        message: Any = None,
        attachments: list[AttachmentInput] | None = None,
        attachment_mode: str | AttachmentMode = "base64",
        metadata: dict[str, Any] | None = None,
        *,
        answer: Any = None,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Record what the agent said. Raises InvalidAnswerDataException when that is nothing."""
        content = message if message is not None else answer
        mark = mark_of(event_id, occurred_at)
        self._say("answer", "agent", content, InvalidAnswerDataException, attachments, attachment_mode, metadata, mark)

    def track_question(
        self,
        question: Any = None,
        metadata: dict[str, Any] | None = None,
        *,
        message: Any = None,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """`track_human_message` by its older name: the second argument is the metadata."""
        content = question if question is not None else message
        mark = mark_of(event_id, occurred_at)
        self._say("question", "end_user", content, InvalidQuestionDataException, None, "base64", metadata, mark)

    def track_answer(
        self,
        answer: Any = None,
        metadata: dict[str, Any] | None = None,
        *,
        message: Any = None,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """`track_agent_message` by its older name: the second argument is the metadata."""
        content = answer if answer is not None else message
        mark = mark_of(event_id, occurred_at)
        self._say("answer", "agent", content, InvalidAnswerDataException, None, "base64", metadata, mark)

    def _say(
        self,
        label: str,
        sender: str,
        content: Any,
        blame: type[InvalidQuestionDataException] | type[InvalidAnswerDataException],
        attachments: Any,
        mode: Any,
        metadata: Any,
        mark: Mark | None,
    ) -> None:
        if type(content) is not str:
            content = str(getattr(content, "value", content)) if content else ""
        if not content or content.isspace():
            raise blame(field="content", reason="is required")
        if len(content) > wire.MAX_CONTENT_CHARS:
            content = cut(content)
        fields: dict[str, Any] = {
            "content": content,
            "sender": sender,
            "metadata": snapshot(metadata) if metadata else {},
        }
        size = len(content)
        if metadata:
            size += 64 * len(metadata) if type(metadata) is dict else 1_000
        if attachments:
            fields["attachments"], fields["attachment_mode"] = read_attachments(attachments, mode)
            size += weight(fields["attachments"])
        self._keep(label, "message", fields, size, 1 + len(attachments) if attachments else 1, mark)

    def track_attachments(
        self,
        attachments: list[AttachmentInput],
        sender: str | Sender | None = None,
        metadata: dict[str, Any] | None = None,
        mode: str | AttachmentMode = "base64",
        *,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Record files that came without a message; they are read now, so an open file may be closed afterwards.

        Raises:
            InvalidAttachmentException: the list is empty, or a file lacks what its mode needs.
            ValueError: `mode` is neither `base64` nor `form_data`.
        """
        mark = mark_of(event_id, occurred_at)
        files, mode_name = read_attachments(attachments, mode, required=True)
        said_by = getattr(sender, "value", sender) or "end_user"
        if said_by not in wire.SENDERS:
            logger.warning("AgentSight: %r is no sender; the attachment counts as the end user's", said_by)
            said_by = "end_user"
        fields = {"attachments": files, "metadata": _given(metadata), "mode": mode_name, "sender": said_by}
        self._add("attachments", "attachment", fields, mark=mark)

    def track_action(
        self,
        action_name: str,
        started_at: Any = None,
        ended_at: Any = None,
        duration_ms: int | float | None = None,
        tools_used: Any = None,
        response: Any = None,
        error_msg: Any = None,
        metadata: dict[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Record a tool or step the agent ran. Raises InvalidConversationDataException when it has no name."""
        optional = {
            "started_at": snapshot(started_at),
            "ended_at": snapshot(ended_at),
            "duration_ms": duration_ms,
            "tools_used": snapshot(tools_used),
            "response": snapshot(response),
            "error_msg": None if error_msg is None else cut(str(error_msg)),
        }
        fields = {"action_name": _filled(action_name, "Action name"), "metadata": _given(metadata)}
        fields.update((name, value) for name, value in optional.items() if value is not None)
        self._add("action", "action", fields, len(str(optional["response"] or "")), mark_of(event_id, occurred_at))

    def track_button(
        self,
        button_event: str,
        label: str,
        value: str,
        metadata: dict[str, Any] | None = None,
        *,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Record a click. Raises InvalidConversationDataException when a part of it is empty."""
        fields = {
            "button_event": _filled(button_event, "Button event"),
            "label": _filled(label, "Button label"),
            "value": _filled(value, "Button value"),
            "metadata": _given(metadata),
        }
        self._add("button", "button", fields, mark=mark_of(event_id, occurred_at))

    def track_token_usage(
        self,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        total_tokens: int = 0,
        embedding_tokens: int = 0,
        model: str | None = None,
        *,
        event_id: str | None = None,
        occurred_at: str | datetime | None = None,
    ) -> None:
        """Add to the tokens of the current conversation; the sum is sent with the next send and starts again at 0.

        With an `event_id` or `occurred_at` of their own they are an event of their own, and no part of that sum.
        """
        added = [int(prompt_tokens), int(completion_tokens), int(total_tokens), int(embedding_tokens)]
        if (mark := mark_of(event_id, occurred_at)) is not None:
            counts: dict[str, Any] = dict(zip(wire.TOKEN_COUNTS, added, strict=True))
            self._add("action", "token_usage", {**counts, "model": model}, mark=mark)
            return
        if not self._ready:
            self._wake()
        conversation_id = self._here()
        with self._buffer.lock:
            if self._tokens.is_full(conversation_id):
                self._add_tokens(next(iter(self._tokens)))  # nobody sends them: they wait as the rest does
            self._tokens.add(conversation_id, model, added)

    def get_token_usage(self) -> dict[str, int]:
        """The tokens of the current conversation since its last send; {} when none were ever counted."""
        with self._buffer.lock:
            return self._tokens.of(self.config.conversation_id or "")

    # -- sending -----------------------------------------------------------------------------------------------------
    def send_tracked_data(self, *, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Deliver what was tracked in the current conversation, in one request, and say what became of it.

        Waits for the server, 15 seconds at most or `timeout_s`. On an asyncio event loop it hands over and returns at once: items
        then read `success: True` with the response `{"queued": True}`; `await asend_tracked_data()` waits for the
        verdicts. An item that could not be delivered has `success: False`, `queued: True`, and is tried again in the
        background: do not track it anew. Without a current conversation everything that waits is sent, each item
        under its own conversation.

        Raises:
            NoDataToSendException: nothing was tracked.
            NoApiKeyException, InvalidApiKeyException: there is no key to send with; what was tracked is kept.
        """
        ticket = self._submit(timeout_s)
        if ticket is None:
            return summary.sent([], handed_over=False)
        handed_over = in_event_loop()
        if not handed_over:
            ticket.wait()
        return summary.sent(ticket.items, handed_over)

    async def asend_tracked_data(self, *, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """As `send_tracked_data`, waiting for the server without blocking the event loop."""
        import asyncio

        ticket = self._submit(timeout_s)
        if ticket is None:
            return summary.sent([], handed_over=False)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        ticket.when_finished(lambda: _tell(loop, done))
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), ticket.left_s)
        return summary.sent(ticket.items, handed_over=False)

    # -- looking -----------------------------------------------------------------------------------------------------
    def get_tracked_data_summary(self) -> dict[str, Any]:
        """What the current conversation holds that is not sent yet: `items`, `summary` and `conversation_id`."""
        current = self.config.conversation_id
        with self._buffer.lock:
            items = list(self._buffer.pending.get(current or "", ()))
        return summary.pending(items, current)

    @property
    def dropped(self) -> dict[str, int]:
        """Events lost so far, by reason; empty when none were."""
        return dict(self._buffer.dropped)

    def get_delivery_stats(self) -> dict[str, Any]:
        """How delivery is going: what waits, what was delivered, what was lost and the last trouble."""
        stats = self._delivery.stats
        names = ("delivered", "duplicates", "rejected", "spilled", "adopted", "failed_requests")
        with self._buffer.lock:
            pending = sum(map(len, self._buffer.pending.values()))
        return {
            "pending": pending,
            "queued": self._delivery.backlog,
            **{name: stats[name] for name in names},
            "dropped": self.dropped,
            "last_error": self._delivery.last_error,
        }


class _Within:
    """`with` and `async with` over one conversation."""

    def __init__(self, block: Any):
        self._block = block

    def __enter__(self) -> ConversationTracker:
        return self._block.__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *trouble: Any) -> None:
        self._block.__exit__(*trouble)

    async def __aenter__(self) -> ConversationTracker:
        return self.__enter__()

    async def __aexit__(self, *trouble: Any) -> None:
        self.__exit__(*trouble)


# -- small things ----------------------------------------------------------------------------------------------------
def _tell(loop: Any, done: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed, nobody waits any longer
        loop.call_soon_threadsafe(done.set)


def _given(metadata: Any) -> Any:
    return snapshot(metadata) if metadata else {}


def _filled(text: Any, what: str) -> str:
    plain = getattr(text, "value", text)
    if not plain or not plain.strip():
        raise InvalidConversationDataException(f"{what} cannot be empty", field=what.lower().replace(" ", "_"))
    return str(plain)


conversation_tracker = object.__new__(ConversationTracker)
conversation_tracker._prepare()
ConversationTracker._instance = conversation_tracker

__all__ = ["ConversationTracker", "TokenHandlerType", "conversation_tracker"]
