"""Writes OTLP trace requests, as an agent's instrumentation would send them: run by a peer's own Python, which has protobuf.

`python otlp.py FILE REQUESTS SPANS_EACH SEED`: length-prefixed bodies. Every fifth span is a turn, the rest its model calls;
each has about ten attributes and 250 characters in and out.
"""

from __future__ import annotations

import random
import sys
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

TEXT = "order parcel refund password invoice table booking delivery please thank you address change cancel help number"
WORDS = TEXT.split()


def attribute(key: str, value: str | int) -> KeyValue:
    told = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=told)


def request(spans: int, dice: random.Random, now_ns: int) -> tuple[bytes, int]:
    body = ExportTraceServiceRequest()
    resource = body.resource_spans.add()
    resource.resource.attributes.append(attribute("service.name", "bench"))
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    trace = root = b""
    for number in range(spans):
        is_turn = number % 5 == 0
        if is_turn:
            trace, root, session = dice.randbytes(16), b"", f"session-{dice.randrange(20_000)}"
        span = scope.spans.add(trace_id=trace, span_id=dice.randbytes(8), parent_span_id=root)
        span.name, span.status.code = "turn" if is_turn else "llm", 1
        root = span.span_id if is_turn else root
        now_ns += dice.randrange(1, 40) * 1_000_000
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + dice.randrange(1, 3_000) * 1_000_000
        span.attributes.extend(
            [
                attribute("openinference.span.kind", "LLM"),
                attribute("session.id", session),
                attribute("user.id", f"user-{dice.randrange(5_000)}"),
                attribute("input.value", " ".join(dice.choices(WORDS, k=40))),
                attribute("output.value", " ".join(dice.choices(WORDS, k=40))),
                attribute("llm.model_name", "gpt-4o-mini"),
                attribute("llm.token_count.prompt", dice.randrange(10, 3_000)),
                attribute("llm.token_count.completion", dice.randrange(10, 600)),
            ]
        )
    return body.SerializeToString(), now_ns


def main(path: str, requests: str, spans: str, seed: str) -> None:
    dice, now_ns = random.Random(int(seed)), time.time_ns() - 86_400 * 10**9
    with open(path, "wb") as file:
        for _ in range(int(requests)):
            body, now_ns = request(int(spans), dice, now_ns)
            file.write(len(body).to_bytes(4, "big") + body)


if __name__ == "__main__":
    main(*sys.argv[1:])
