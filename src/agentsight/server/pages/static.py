"""Files that are the same for everybody: style, script, map, and each brand's colours."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentsight.core.ports import Store

from ..http import needs
from ..ui.assets import Asset, asset
from ..ui.theme import Brand, style
from .shell import Visitor, routes

FOREVER = "public, max-age=31536000, immutable"


@needs("anybody")
async def file(request: Request) -> Response:
    found: Asset | None = asset(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    current = request.query_params.get("v") == found.version
    headers = {"Cache-Control": FOREVER if current else "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


@needs("anybody")
def theme(request: Request) -> Response:
    """A brand's colours; unknown organizations look like us."""
    slug = request.path_params["slug"]

    def ask(store: Store) -> Brand:
        for organization in store.tenants.organizations():
            if organization.slug == slug:
                return Brand.of(organization.name, organization.settings.get("brand") or {})
        return Brand("AgentSight")

    brand = Brand("AgentSight") if slug == "-" else Visitor(request).read(ask)
    current = request.path_params["version"] == brand.version
    return Response(style(brand), media_type="text/css", headers={"Cache-Control": FOREVER if current else "no-cache"})


@needs("anybody")
def favicon(request: Request) -> Response:
    return Response(status_code=204)


routes.append(Route("/static/{name}", file))
routes.append(Route("/theme/{slug}.{version}.css", theme))
routes.append(Route("/favicon.ico", favicon))
