"""Saved views: kept from the page they show, opened from its menu."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import Response

from agentsight.core import views
from agentsight.core.views import View

from .addresses import query
from .shell import act
from .visit import Visit


@act("views/save", "analytics.read")
def save(visit: Visit, form: FormData) -> Response:
    place = str(form.get("place") or "")
    kept = query(pair for pair in visit.params.multi_items() if pair[0] not in ("before", "after"))
    shared = bool(form.get("shared")) and visit.may("reports.manage")
    new = View("", str(form.get("name") or ""), place, kept, visit.user.id, shared)
    visit.write(lambda store: views.save(store, visit.organization.id, new))
    return visit.redirect(visit.root + place + kept, visit.voice.say("The view is saved"))


@act("views/delete", "analytics.read")
def delete(visit: Visit, form: FormData) -> Response:
    id, place = str(form.get("id") or ""), str(form.get("place") or "")
    any_shared = visit.may("settings.manage")
    visit.write(lambda store: views.delete(store, visit.organization.id, id, visit.user.id, any_shared=any_shared))
    back = place if place in views.PLACES else views.PLACES[0]
    return visit.redirect(visit.root + back + visit.query_string, visit.voice.say("The view is gone"))
