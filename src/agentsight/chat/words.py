"""What the chat page says, in the language of whoever opens it; the dashboard's catalogues hold it too."""

from __future__ import annotations

from babel import Locale
from starlette.requests import Request

from agentsight.languages import negotiate, translations


def _N(text: str) -> str:
    """Marks a text for translation where it is said later."""
    return text


SAID_BY_SCRIPT = (
    _N("Assistant"),
    _N("Cannot copy here"),
    _N("Copied"),
    _N("Copy"),
    _N("Delete this conversation for good?"),
    _N("Demo: rules, not AI"),
    _N("New chat"),
    _N("Signed in as {user}"),
    _N("Something went wrong."),
    _N("Stopped."),
    _N("The answer is complete."),
    _N("The connection was lost."),
    _N("The server cannot be reached. Reload the page to try again."),
    _N("The server cannot be reached. Your message is still in the box."),
    _N("The server stopped while this was written."),
    _N("There is no such conversation."),
    _N("This answer is not complete."),
    _N("This is the rule-based demo, not an AI model. It keeps a to-do list:"),
    _N("You"),
    _N("You are signed in as {user}. Sign in as {other} instead?"),
    _N("done"),
    _N("failed"),
    _N("interrupted"),
    _N("running…"),
)
"""Texts of chat.js, which are the keys it asks for."""


def locale(request: Request) -> Locale:
    """What somebody chose on the dashboard beside, else what the browser accepts."""
    return negotiate(request.cookies.get("language"), request.headers.get("accept-language", ""))


def words(locale: Locale) -> dict[str, str]:
    """The script's texts in a language, those that differ from their keys."""
    say = translations(locale.language).gettext
    return {text: said for text in SAID_BY_SCRIPT if (said := say(text)) != text}
