"""GET /docs: the API, read from the same description as /openapi.json; needs no internet and no script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from .http import needs
from .ui.assets import asset_url

_ENV = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_METHODS = ("get", "post", "put", "patch", "delete")


@needs("anybody")
async def manual(request: Request) -> Response:
    """Every operation, by group, with its parameters and bodies."""
    document = request.app.openapi()
    page = _ENV.get_template("manual.html")
    return HTMLResponse(page.render(title=document["info"]["title"], version=document["info"]["version"],
                                    groups=_groups(document), asset=asset_url))  # fmt: skip


def _groups(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                group = (operation.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append(_operation(path, method, operation))
    return groups


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    bodies = operation.get("requestBody", {}).get("content", {})
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", ()),
        "bodies": [(kind, json.dumps(body.get("schema", {}), indent=2)) for kind, body in bodies.items()],
    }
