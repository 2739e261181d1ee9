"""The metric API over HTTP: the catalogue, an answer, its CSV, and what it refuses."""

from __future__ import annotations

import csv
import io

import pytest

from agentsight.core.metrics import METRICS
from agentsight.server.ui.tables import cell
from served import Api, Server, at, event, message

DAY = {"from": "2026-03-02", "to": "2026-03-02"}


def told(api: Api, **params: object) -> dict[str, object]:
    answer = api.get("/api/analytics/", params=DAY | params)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


@pytest.fixture
def busy(api: Api) -> Api:
    described = {"environment": "production", "source": "=cmd|' /C calc'!A0", "customer_id": "c-9", "device": "mobile"}
    api.batch(
        event("conversation", "a", **described),
        message("a", "where is my parcel?"),
        message("a", "on its way", sender="agent"),
        event("action", "a", action_name="@SUM(1)", duration_ms=40),
        event("token_usage", "a", prompt_tokens=1000, completion_tokens=100, model="gpt-4o-mini"),
        event("token_usage", "a", prompt_tokens=50, model="nobody-knows-1"),
        event("feedback", "a", sentiment="positive"),
        event("conversation", "b", environment="development"),
        message("b", "only trying"),
    )
    return api


def test_the_catalogue_lists_every_metric_with_what_it_says(api: Api) -> None:
    listed = api.get("/api/metrics/").json()
    assert [metric["name"] for metric in listed] == list(METRICS)
    assert all(set(metric) == {"name", "unit", "says", "better", "by"} for metric in listed)


def test_an_answer_has_the_shape_the_interfaces_promise(busy: Api) -> None:
    answer = told(busy, metric=["total_messages", "cost_usd"], by="day", tz="Europe/Zagreb", compare="previous")
    assert {name: answer[name] for name in ("from", "to", "tz", "environment")} == {
        "from": "2026-03-02",
        "to": "2026-03-02",
        "tz": "Europe/Zagreb",
        "environment": "production",
    }
    messages, cost = answer["metrics"]  # type: ignore[misc]
    assert messages["rows"] == [{"key": "2026-03-02", "value": 2}]
    assert (messages["name"], messages["unit"], messages["total"], messages["previous"]) == (
        "total_messages",
        "messages",
        2,
        0,
    )
    assert cost["total"] == 0.00021


def test_unknown_models_are_unpriced_and_never_free(busy: Api) -> None:
    answer = told(busy, metric="cost_usd,unpriced_tokens", by="model")
    cost, unpriced = answer["metrics"]  # type: ignore[misc]
    assert unpriced["rows"] == [{"key": "nobody-knows-1", "value": 50}]
    assert cost["rows"][0] == {"key": "gpt-4o-mini", "value": 0.00021}


def test_development_counts_when_it_is_asked_for_by_name(busy: Api) -> None:
    for name in ("environment", "env"):
        answer = told(busy, metric="total_messages", **{name: "development"})
        assert answer["environment"] == "development"
        assert answer["metrics"][0]["total"] == 1  # type: ignore[index]


def test_a_read_key_reads_and_nobody_else_does(busy: Api, server: Server) -> None:
    with server.api(role="read") as reader:
        assert reader.get("/api/metrics/").status_code == 200
        assert told(reader, metric="total_messages")["metrics"][0]["total"] == 0  # type: ignore[index]
    for path in ("/api/metrics/", "/api/analytics/?metric=total_messages"):
        assert busy.get(path, headers={"Authorization": "Api-Key ags_" + "0" * 32 + "_" + "0" * 6}).status_code == 401


@pytest.mark.parametrize(
    "params, field",
    [
        ({"metric": "nonsense"}, "metric"),
        ({}, "metric"),
        ({"metric": "total_messages", "by": "planet"}, "by"),
        ({"metric": "total_messages", "tz": "Mars/Olympus"}, "tz"),
        ({"metric": "total_messages", "from": "2026-03-03", "to": "2026-03-02"}, "to"),
        ({"metric": "total_messages", "from": "0001-01-01"}, "from"),
        ({"metric": "total_messages", "to": "9999-12-31"}, "to"),
        ({"metric": "total_messages", "from": "1970-01-01", "to": "2069-12-31", "by": "hour"}, "by"),
        ({"metric": "total_messages", "colour": "red"}, "colour"),
        ({"metric": "total_messages", "is_used": "perhaps"}, "is_used"),
        ({"metric": "total_messages", "compare": "then"}, "compare"),
        ({"metric": "total_messages", "format": "xlsx"}, "format"),
    ],
)
def test_what_makes_no_sense_is_400_and_names_the_parameter(api: Api, params: dict[str, str], field: str) -> None:
    answer = api.get("/api/analytics/", params=params)
    body = answer.json()
    assert answer.status_code == 400 and body["code"] == "invalid"
    assert list(body["fields"]) == [field] and body["detail"].startswith(f"{field}: ")


def test_csv_has_one_line_a_key_and_never_a_formula(busy: Api) -> None:
    for asked in ({"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}):
        params = DAY | {"metric": "total_messages,total_conversations", "by": "source"} | asked.get("params", {})
        answer = busy.get("/api/analytics/", params=params, headers=asked.get("headers", {}))
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert list(csv.reader(io.StringIO(answer.text))) == [
            ["source", "total_messages (messages)", "total_conversations (conversations)"],
            ["'=cmd|' /c calc'!a0", "2", "1"],
        ]
    tools = busy.get("/api/analytics/", params=DAY | {"metric": "tool_runs", "by": "tool", "format": "csv"})
    assert list(csv.reader(io.StringIO(tools.text)))[1] == ["'@SUM(1)", "1"]


def test_csv_of_totals_has_one_line_a_metric(busy: Api) -> None:
    params = DAY | {"metric": "total_messages,p95_response_ms", "format": "csv", "compare": "previous"}
    lines = list(csv.reader(io.StringIO(busy.get("/api/analytics/", params=params).text)))
    assert lines[0] == ["metric", "unit", "total", "previous"] and lines[1] == ["total_messages", "messages", "2", "0"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "|calc", "＝1+1"])
def test_text_that_could_be_a_formula_is_defused(text: str) -> None:
    assert cell(text) == "'" + text


def test_the_list_opens_what_a_number_counts(busy: Api) -> None:
    window = {"counted_from": at(-86_400), "counted_to": at(86_400)}
    assert busy.ids(counted_by="messages", environment="production", **window) == ["a"]
    assert busy.ids(counted_by="tokens", counted_key="nobody-knows-1", **window) == ["a"]
    assert busy.ids(counted_by="feedback", counted_key="negative", **window) == []
    assert busy.get("/api/conversations/", params={"counted_by": "everything"}).status_code == 400
