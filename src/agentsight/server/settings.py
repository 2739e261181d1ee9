"""What the server is told from outside: where its data lies and how it is reached."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from agentsight.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """`public_url` is how people reach the server from outside; None: as each request says.

    `mmdb` is a file to look countries up in before the registries' own data; None: only those.
    `smtp_url` and `mail_from` are how mail goes out; None: links are shown instead.
    `files_url` is where attachment bytes lie, a folder or s3://BUCKET/PREFIX; None: in the data folder.
    `read_database_url` is a read replica of the database, for lists and numbers; None: there is none.
    `proxies` are addresses and networks, separated by commas, whose word about the client counts; "*": everybody's.
    """

    data: Path
    database_url: str
    public_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    mmdb: Path | None = None
    files_url: str | None = None
    proxies: str = ""
    smtp_url: str | None = field(default=None, repr=False)
    mail_from: str | None = None
    read_database_url: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, data: Path | None = None, database: str | None = None, host: str = "127.0.0.1", port: int = 8000
    ) -> Settings:
        """Settings from arguments, else from the environment, else the defaults of the command line."""
        folder = Path(data or os.environ.get("AGENTSIGHT_DATA") or platformdirs.user_data_path("agentsight"))
        url = database or os.environ.get("AGENTSIGHT_DATABASE_URL") or f"sqlite:///{folder / 'agentsight.db'}"
        public = (os.environ.get("AGENTSIGHT_PUBLIC_URL") or "").rstrip("/") or None
        mmdb = os.environ.get("AGENTSIGHT_MMDB") or None
        files = os.environ.get("AGENTSIGHT_FILES") or None
        proxies = os.environ.get("AGENTSIGHT_TRUSTED_PROXIES") or ""
        mail = os.environ.get("AGENTSIGHT_SMTP_URL") or None, os.environ.get("AGENTSIGHT_MAIL_FROM") or None
        replica = os.environ.get("AGENTSIGHT_READ_DATABASE_URL") or None
        return cls(folder, url, public, host, port, Path(mmdb) if mmdb else None, files, proxies, *mail, replica)

    @property
    def files(self) -> str:
        """Where attachment bytes lie: a folder, or s3://BUCKET/PREFIX."""
        return self.files_url or str(self.data / "files")

    def secret(self) -> str:
        """What this installation signs links with: AGENTSIGHT_SECRET, else made at first use, readable by its owner alone.

        Raises:
            ConfigError: it is too short, or the data folder cannot be written.
        """
        if given := os.environ.get("AGENTSIGHT_SECRET"):
            if len(given) < 32:
                raise ConfigError("AGENTSIGHT_SECRET must have 32 characters or more")
            return given
        kept, made = self.data / "secret", self.data / f".secret.{secrets.token_hex(8)}"
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not kept.exists():
                with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(secrets.token_hex(32))
                with contextlib.suppress(FileExistsError):  # another process was first: its secret is the one
                    os.link(made, kept)
                made.unlink()
            return kept.read_text().strip()
        except OSError as wrong:
            raise ConfigError(f"the data folder {self.data} cannot be used: {wrong.strerror}") from None
