"""`python -m agentsight.chat [PORT]`: the chat backend alone, on this machine only. `agentsight chat` does the same."""

from __future__ import annotations

import os
import sys

import uvicorn

from agentsight.chat.app import create_app
from agentsight.chat.settings import Settings, default_data_dir


def main() -> None:
    """Serve until told to stop; then let the runs under way be saved."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8001
    app = create_app(Settings.from_env(default_data_dir()))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=8)


if __name__ == "__main__":
    os.umask(0o077)
    main()
