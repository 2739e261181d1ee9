"""A chat backend with the scripted model as a process of its own, to be killed: DATABASE_URL PORT TRACKING_URL."""

import sys
from pathlib import Path

import uvicorn

from agentsight.chat.app import create_app
from agentsight.chat.settings import Settings

from .conftest import SECRET
from .fake_agentsight import KEY
from .scripted import Scripted

if __name__ == "__main__":
    url, port, tracking = sys.argv[1:]
    settings = Settings(
        data_dir=Path.cwd(), database_url=url, secrets=(SECRET,), runs_per_minute=10_000, live_runs=1000, beat_s=0.1,
        stale_s=1.5, tracking_key=KEY, tracking_endpoint=tracking,
    )  # fmt: skip
    uvicorn.run(create_app(settings, responder=Scripted()), port=int(port), log_level="critical")
