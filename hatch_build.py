"""The build hook: puts world.svg, world.json and icons.json beside the dashboard's other static files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AssetsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for every wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        sys.path.insert(0, str(root))
        from build_assets import icons, world

        target = root / "src" / "agentsight" / "server" / "static"
        icons.build(_package("lucide") / "lucide.zip", target / "icons.json")
        world.build(_package("geo_intel_offline") / "data", target / "world.svg", target / "world.json")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"Building AgentSight needs the package {name}; build with isolation, or: "
            "pip install lucide==1.1.4 geo-intel-offline==1.5.0"
        )
    return Path(spec.origin).parent
