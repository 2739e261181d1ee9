"""When an agent changed: versions, prompts and models, as conversations say in their metadata."""

from __future__ import annotations

from .model import Agent, Scope, Version
from .ports import Store

KEYS = ("agent_version", "version", "prompt_version", "prompt_id", "model", "release")
MAX_VERSIONS = 200


def versions(store: Store, scope: Scope, environment: str) -> list[Version]:
    """Every value of these metadata keys, with when it was first and last seen; newest first."""
    found = [
        version
        for agent_id in scope.agent_ids
        for version in store.history.versions(agent_id, environment == "production", KEYS)
    ]
    return sorted(found, key=lambda version: -version.first_us)[:MAX_VERSIONS]


def changes(found: list[Version]) -> list[Version]:
    """Those that are a change: not the first value their agent had for the key, oldest first."""
    begun: set[tuple[int, str]] = set()
    changed = []
    for version in sorted(found, key=lambda version: version.first_us):
        if (version.agent_id, version.key) in begun:
            changed.append(version)
        begun.add((version.agent_id, version.key))
    return changed


def label(version: Version, agents: tuple[Agent, ...]) -> str:
    """What a change is called on a chart."""
    name = next((agent.name for agent in agents if agent.id == version.agent_id), "")
    words = f"{version.key} {version.value}"
    return f"{name}: {words}" if len(agents) > 1 and name else words
