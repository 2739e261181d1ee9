"""What OpenTelemetry's unmodified exporter sends of generative AI becomes conversations, once, in protobuf and in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from served import Api

from .old import OldClient

EXPORT = """
    import json, os, urllib.request
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.trace import Status, StatusCode

    url, key = os.environ["AGENTSIGHT_API_ENDPOINT"], os.environ["AGENTSIGHT_API_KEY"]
    sent = []
    class Watched(OTLPSpanExporter):
        def export(self, spans):
            sent.extend(super(Watched, self).export(spans).name for _ in range(2))  # again, as after a lost answer
            return SpanExportResult.SUCCESS
    exporter = Watched(endpoint=url + "/v1/traces", headers={"Authorization": "Api-Key " + key})
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "deployment.environment.name": "production"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("POST /chat"):
        with tracer.start_as_current_span("invoke_agent shop", attributes={
                "gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "o-1", "user.id": "c-7",
                "gen_ai.usage.input_tokens": 999}) as agent:
            with tracer.start_as_current_span("chat gpt-4o-mini", attributes={
                    "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.conversation.id": "o-1",
                    "gen_ai.usage.input_tokens": 80, "gen_ai.usage.output_tokens": 12,
                    "gen_ai.input.messages": json.dumps([
                        {"role": "system", "parts": [{"type": "text", "content": "secret prompt"}]},
                        {"role": "user", "parts": [{"type": "text", "content": "Where is my parcel? 📦"}]}])}):
                pass
            with tracer.start_as_current_span("execute_tool lookup", attributes={
                    "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup",
                    "gen_ai.tool.call.arguments": '{"number": "A-1"}', "gen_ai.tool.call.result": '{"status": "in transit"}'}):
                pass
            try:
                with tracer.start_as_current_span("execute_tool refund", attributes={
                        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund"}):
                    raise ValueError("upstream 503")
            except ValueError:
                pass
            agent.set_attribute("gen_ai.input.messages", json.dumps([{"role": "user", "parts": [
                {"type": "text", "content": "Where is my parcel? 📦"}]}]))
            agent.set_attribute("gen_ai.output.messages", json.dumps([{"role": "assistant", "parts": [
                {"type": "text", "content": "On its way."}]}]))
    provider.shutdown()
    result = sent
"""


def test_the_exporters_spans_are_a_conversation_once(api: Api, otel: OldClient) -> None:
    sent = otel.run(api, EXPORT)
    assert sent == ["SUCCESS", "SUCCESS"]
    conversation = api.conversation("o-1")
    assert (conversation["customer_id"], conversation["source"], conversation["environment"]) == (
        "c-7", "shop", "production",
    )  # fmt: skip
    rows = conversation["messages"]
    said = [(row["sender"], row["content"]) for row in rows if not row["action_logs"]]
    assert said == [("end_user", "Where is my parcel? 📦"), ("agent", "On its way.")]
    found, failed = (row["action_logs"][0] for row in rows if row["action_logs"])
    assert found["tools_used"] == {"number": "A-1"} and found["response"] == {"status": "in transit"}
    assert failed["error_message"] == "upstream 503" and "secret prompt" not in json.dumps(conversation)
    totals = api.get("/api/analytics/", params={"metric": "total_tokens"}).json()["metrics"][0]
    assert totals["total"] == 92, "an agent's own sum is not counted beside its calls"


def attributes(**told: Any) -> list[dict[str, Any]]:
    def value(of: Any) -> dict[str, Any]:
        return {"intValue": str(of)} if isinstance(of, int) else {"stringValue": of}

    return [{"key": key.replace("__", "."), "value": value(of)} for key, of in told.items()]


def request(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes(deployment__environment="development")}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def span(number: int, parent: int = 0, **told: Any) -> dict[str, Any]:
    return {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}), "name": f"span {number}", "kind": 1,
        "startTimeUnixNano": str(1_772_000_000_000_000_000 + number * 1_000_000),
        "endTimeUnixNano": str(1_772_000_001_000_000_000 + number * 1_000_000), "attributes": attributes(**told),
    }  # fmt: skip


def test_openinference_in_json(api: Api) -> None:
    body = request(
        span(1, openinference__span__kind="CHAIN", session__id="oi-1", user__id="u-1", input__value="What is 2 + 2?",
             output__value='{"answer": "4"}'),
        span(2, 1, openinference__span__kind="LLM", llm__model_name="gpt-4o", llm__token_count__prompt=10,
             llm__token_count__completion=2, llm__input_messages__0__message__role="user",
             llm__input_messages__0__message__content="rewritten: 2+2",
             llm__output_messages__0__message__content="4"),
        span(3, 1, openinference__span__kind="TOOL", tool__name="calculate", input__value='{"sum": "2+2"}',
             output__value="4"),
        span(4, 1, openinference__span__kind="EMBEDDING", embedding__model_name="small", llm__token_count__total=8),
        span(5, 1, http__method="GET"),
    )  # fmt: skip
    for _ in range(2):
        answer = api.post("/v1/traces", json=body)
        assert answer.status_code == 200 and answer.json() == {}
    conversation = api.conversation("oi-1")
    assert conversation["environment"] == "development" and conversation["customer_id"] == "u-1"
    said = [(row["sender"], row["content"]) for row in conversation["messages"] if not row["action_logs"]]
    assert said == [("end_user", "What is 2 + 2?"), ("agent", "4")]
    (tool,) = (row["action_logs"][0] for row in conversation["messages"] if row["action_logs"])
    assert (tool["tools_used"], tool["response"]) == ({"sum": "2+2"}, "4")


def test_older_conventions_and_a_trace_without_a_conversation(api: Api) -> None:
    told = {"gen_ai__system": "openai", "gen_ai__request__model": "gpt-4o", "gen_ai__prompt__0__role": "user",
            "gen_ai__prompt__0__content": "Hello", "gen_ai__completion__0__role": "assistant",
            "gen_ai__completion__0__content": "Hi!", "gen_ai__usage__prompt_tokens": 3,
            "gen_ai__usage__completion_tokens": 2}  # fmt: skip
    assert api.post("/v1/traces", json=request(span(1, **told))).status_code == 200
    conversation = api.conversation("trace-5b8efff798038103d269b633813fc60c")
    assert [row["content"] for row in conversation["messages"]] == ["Hello", "Hi!"]


def test_what_is_told_by_a_span_and_the_one_around_it_is_said_once_across_requests(api: Api) -> None:
    inner = span(2, 1, gen_ai__operation__name="chat", gen_ai__conversation__id="x-1",
                 gen_ai__input__messages='[{"role": "user", "content": "Hello"}]',
                 gen_ai__output__messages='[{"role": "assistant", "content": "Hi!"}]')  # fmt: skip
    outer = span(1, gen_ai__operation__name="invoke_agent", gen_ai__conversation__id="x-1", input__value="Hello",
                 output__value="Hi!")  # fmt: skip
    for one in (inner, outer):
        assert api.post("/v1/traces", json=request(one)).status_code == 200
    assert [row["content"] for row in api.conversation("x-1")["messages"]] == ["Hello", "Hi!"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 400), ("application/json", b"[]", 400), ("application/json", b'{"resourceSpans": 3}', 400),
        ("application/json", b'{"resourceSpans": [3]}', 400), ("application/json", b'{"resourceSpans": []}', 200),
        ("application/x-protobuf", b"", 200), ("application/x-protobuf", b"\x0a\x05abc", 400),
        ("application/x-protobuf", b"\xff" * 40, 400), ("application/x-protobuf", b"\x0a\x02\x12\x00", 200),
        ("text/plain", b"", 415),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_said_so(api: Api, kind: str, body: bytes, status: int) -> None:
    answer = api.post("/v1/traces", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_odd_spans_do_no_harm(api: Api) -> None:
    odd = span(1, gen_ai__operation__name="chat", gen_ai__usage__input_tokens=-5)
    odd |= {"startTimeUnixNano": "99999999999999999999", "attributes": odd["attributes"] + [{"key": "x"}]}
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(40):
        deep = {"arrayValue": {"values": [deep]}}
    assert api.post("/v1/traces", json=request(odd)).status_code == 200
    nested = span(2, gen_ai__operation__name="chat") | {"attributes": [{"key": "x", "value": deep}]}
    assert api.post("/v1/traces", json=request(nested)).status_code == 400


def test_a_reading_key_may_not_send(api: Api) -> None:
    assert (
        api.post(
            "/v1/traces", json=request(), headers={"Authorization": "Api-Key ags_" + "0" * 32 + "_000000"}
        ).status_code
        == 401
    )
