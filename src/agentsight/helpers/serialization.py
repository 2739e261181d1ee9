"""JSON that knows enums."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any


class AgentSightJSONEncoder(json.JSONEncoder):
    """Encodes an enum member as its value."""

    def default(self, o: Any) -> Any:
        return o.value if isinstance(o, Enum) else super().default(o)
