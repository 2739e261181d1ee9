"""Reports: the numbers of a page, frozen as they were, so that what was said in a meeting stays said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agentsight.errors import NotFound

from .analytics import Answer, Question, Row, Series
from .model import Filter, Principal, Report, Scope
from .ports import Store
from .reading import named


def save(
    store: Store,
    who: Principal,
    name: str,
    address: str,
    answers: Mapping[str, Answer],
    facts: Mapping[str, Any],
    now_us: int,
) -> Report:
    """Freeze these answers under a name; `facts` is what else the page needs to show them again. Raises Invalid."""
    body = {"facts": dict(facts), "answers": freeze(answers)}
    new = Report(0, who.scope.organization_id, who.scope.agent_ids, named(name), who.name, now_us, address, body)
    return store.reports.add(new)


def get(store: Store, scope: Scope, id: int) -> Report:
    """A report on agents this scope may see. Raises NotFound."""
    found = store.reports.get(scope.organization_id, id)
    if found is None or not set(found.agent_ids) <= set(scope.agent_ids):
        raise NotFound("no such report")
    return found


def every(store: Store, scope: Scope) -> list[Report]:
    """The reports on agents this scope may see, newest first."""
    return [one for one in store.reports.all(scope.organization_id) if set(one.agent_ids) <= set(scope.agent_ids)]


def rename(store: Store, scope: Scope, id: int, name: str) -> None:
    """Raises NotFound, Invalid."""
    store.reports.rename(scope.organization_id, get(store, scope, id).id, named(name))


def delete(store: Store, scope: Scope, id: int) -> None:
    """Raises NotFound."""
    store.reports.delete(scope.organization_id, get(store, scope, id).id)


def freeze(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Answers as JSON; `thaw` gives back equal ones."""
    return {name: asdict(answer) for name, answer in answers.items()}


def thaw(frozen: Mapping[str, Any]) -> dict[str, Answer]:
    return {name: _answer(told) for name, told in frozen.items()}


def _answer(told: Mapping[str, Any]) -> Answer:
    series = tuple(
        Series(
            one["name"],
            one["unit"],
            one["total"],
            one["previous"],
            tuple(Row(**row) for row in one["rows"]),
            tuple(Row(**row) for row in one["previous_rows"]),
        )
        for one in told["series"]
    )
    compared = told["compared"]
    return Answer(_question(told["question"]), series, (compared[0], compared[1]) if compared else None)


def _pairs(told: Any) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in told or ())


def _question(told: Mapping[str, Any]) -> Question:
    known = {name: value for name, value in told["where"].items() if name in Filter.__dataclass_fields__}
    known["metadata"] = _pairs(known.get("metadata"))
    known["unless"] = tuple(
        (name, _pairs(value) if name == "metadata" else value) for name, value in known.get("unless") or ()
    )
    return Question(
        tuple(told["metrics"]), told["start"], told["end"], told["tz"], told["by"], told["compare"], Filter(**known)
    )
