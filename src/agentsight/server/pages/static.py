"""Files that are the same for everybody: style, script, map, and each brand's colours."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agentsight.core.model import Organization
from agentsight.errors import NotFound

from ..http import at_home, house, needs
from ..ui.assets import Asset, asset
from ..ui.theme import FILES, Brand, icon, style
from .shell import routes
from .visit import NOBODY, Visitor

ANYWHERE = {"Access-Control-Allow-Origin": "*"}  # a frame in a sandbox has no origin of its own to load them from
FOREVER = "public, max-age=31536000, immutable"


@needs("anybody")
async def file(request: Request) -> Response:
    found: Asset | None = asset(request.path_params["name"])
    if found is None:
        return Response(status_code=404)
    current = request.query_params.get("v") == found.version
    headers = {"Cache-Control": FOREVER if current else "no-cache", "Vary": "Accept-Encoding", **ANYWHERE}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


def _absent_is_404(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """`answer`; what is not there is an empty 404."""

    def careful(request: Request) -> Response:
        try:
            return answer(request)
        except NotFound:
            return Response(status_code=404)

    return needs("anybody")(careful)


@_absent_is_404
def look(request: Request) -> Response:
    """A brand's style sheet or drawn icon. Elsewhere than in its own house it has to be asked for by its version, which
    only its pages know."""
    slug, version, kind = (request.path_params[name] for name in ("slug", "version", "kind"))
    shown = _shown(request)
    found = Brand.of(shown.name, shown.settings.get("brand") or {}, f"/brand/{slug}/") if shown else NOBODY
    right = version == found.version
    if kind not in LOOKS or (slug != "-" and not right):
        raise NotFound("there is no such page")
    make, media_type = LOOKS[kind]
    return Response(make(found), headers={"Cache-Control": FOREVER if right else "no-cache"}, media_type=media_type)


@_absent_is_404
def upload(request: Request) -> Response:
    """A logo, icon or font somebody uploaded, of the type its own bytes showed."""
    which, sha256 = request.path_params["which"], request.path_params["sha256"]
    shown = _shown(request)
    kept = (shown.settings.get("brand") or {}).get(which) if shown and which in FILES else None
    if not isinstance(kept, dict) or kept.get("sha256") != sha256:
        raise NotFound("there is no such page")
    headers = {"Cache-Control": FOREVER, "Content-Security-Policy": "default-src 'none'; sandbox", **ANYWHERE}
    return Response(request.app.state.blobs.get(sha256), headers=headers, media_type=kept["mime_type"])


def _shown(request: Request) -> Organization | None:
    """Whose files an address means: the house's where it does not say; None: nobody's. Raises NotFound."""
    slug = request.path_params["slug"]
    if slug == "-":
        return house(request)
    found: Organization | None = Visitor(request).read(lambda store: store.tenants.organization_at(slug))
    if found is None or not at_home(request, found.id):
        raise NotFound("there is no such page")
    return found


@needs("anybody")
def favicon(request: Request) -> Response:
    return RedirectResponse(Visitor(request).icon_url, 302, {"Cache-Control": "no-cache"})


LOOKS = {"css": (style, "text/css; charset=utf-8"), "svg": (icon, "image/svg+xml")}
routes.append(Route("/static/{name}", file))
routes.append(Route("/brand/{slug}/{version}.{kind}", look))
routes.append(Route("/brand/{slug}/{which}/{sha256}", upload))
routes.append(Route("/favicon.ico", favicon))
