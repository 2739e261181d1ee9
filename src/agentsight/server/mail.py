"""Mail out, when somebody said by which server; without one, links are shown to those who asked for them."""

from __future__ import annotations

import logging
import smtplib
import ssl
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from agentsight.errors import ConfigError

PATIENCE_S = 10
_HERE = ("localhost", "127.0.0.1", "::1")
_log = logging.getLogger("agentsight.mail")


@dataclass(frozen=True, slots=True)
class Mailer:
    """A mail server: `smtps://` speaks TLS from the start, `smtp://` changes to it where the server can."""

    host: str
    port: int
    tls: bool
    user: str
    password: str
    sender: str

    @classmethod
    def of(cls, url: str | None, sender: str | None) -> Mailer | None:
        """None without a URL. Raises ConfigError for one that is none, or without a sender."""
        if not url:
            return None
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host, parts = None, None, urlsplit("")
        if parts.scheme not in ("smtp", "smtps") or not host:
            raise ConfigError("AGENTSIGHT_SMTP_URL must look like smtps://user:password@mail.example.com:465")
        if not sender or "@" not in sender or not sender.isprintable():
            raise ConfigError("AGENTSIGHT_MAIL_FROM must be the address mail comes from, such as agents@example.com")
        tls = parts.scheme == "smtps"
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(host, port or (465 if tls else 587), tls, user, password, sender)

    def send(self, to: str, subject: str, text: str) -> bool:
        """Whether the server took it; why it did not, the log says, without a word of the mail."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, to, " ".join(subject.split())
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=self.sender.rpartition("@")[2].strip("> "))
        mail.set_content(text)
        try:
            with self._connected() as server:
                server.send_message(mail)
        except (OSError, smtplib.SMTPException, ValueError) as wrong:
            _log.error("mail could not be sent by %s:%s: %s", self.host, self.port, type(wrong).__name__)
            return False
        return True

    def send_later(self, to: str, subject: str, text: str) -> None:
        """Without waiting, so that how long it takes tells nobody whether there was a mail to send."""
        threading.Thread(target=self.send, args=(to, subject, text), name="agentsight-mail", daemon=True).start()

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=PATIENCE_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=PATIENCE_S)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
            elif self.user and self.host not in _HERE:
                server.close()
                raise smtplib.SMTPException("the server offers no TLS, and a password is not sent without")
        if self.user:
            server.login(self.user, self.password)
        return server
