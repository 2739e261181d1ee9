"""The command line. Exit status: 0 done, 1 refused with one clear line on stderr, 2 wrong use."""

from __future__ import annotations

import os
import sys

MISSING = "agentsight: the command line needs the server: pip install 'agentsight[server]' (missing: {})"


def main() -> None:
    """Run the command line; every refusal is one line on stderr and status 1."""
    try:
        from .commands import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "agentsight":
            raise
        sys.exit(MISSING.format(missing.name))
    from .errors import AgentSightError

    os.umask(0o077)  # what we keep is for its owner alone
    try:
        app()
    except AgentSightError as refused:
        _refuse(f"{refused}{_because(refused)}")
    except OSError as wrong:
        if wrong.filename is None:
            raise
        _refuse(f"{wrong.filename}: {wrong.strerror}; name a place this user may use, such as another --data")
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(line: str) -> None:
    print(f"agentsight: {line}", file=sys.stderr)
    sys.exit(1)


def _because(refused: Exception) -> str:
    """What the database itself said: for who runs the command line, not for clients of the server."""
    cause = refused.__cause__
    said = str(getattr(cause, "orig", None) or cause or "").strip()
    return f" ({said.splitlines()[0]})" if said else ""


if __name__ == "__main__":
    main()
