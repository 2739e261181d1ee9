"""What tokens cost, in whole billionths of a US dollar, so that sums do not depend on their order.

Source: the package `genai-prices` (Pydantic, MIT), which carries the list prices of the vendors with the dates they
changed; nothing is asked of the network. It is imported when the first tokens are priced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOME = 1_000  # tokens a price is asked for: enough to be exact, too few for the surcharge of very long prompts
_MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "x-ai", "deepseek", "perplexity")


@dataclass(frozen=True, slots=True)
class Rate:
    """Billionths of a dollar per thousand tokens; None where the model has no such price."""

    prompt: Decimal | None
    completion: Decimal | None
    embeds: bool


def cost(model: str | None, prompt: int, completion: int, embedding: int, occurred_us: int) -> tuple[int, int]:
    """(billionths of a dollar, tokens they pay for) at the list price of that day, UTC.

    Tokens without a known price are in neither number; so are embedding tokens told of a model that chats, because
    that is not the one that embeds.
    """
    rate = _rate(model, occurred_us // _DAY_US) if model else None
    if rate is None:
        return 0, 0
    nano, priced = Decimal(0), 0
    reading = prompt + (embedding if rate.embeds else 0)
    for tokens, price in ((reading, rate.prompt), (completion, rate.completion)):
        if price is not None:
            nano += price * tokens / _SOME
            priced += tokens
    return int(nano.to_integral_value(ROUND_HALF_EVEN)), priced


@lru_cache(maxsize=16_384)
def _rate(model: str, day: int) -> Rate | None:
    from genai_prices.types import ModelPrice, Usage

    found = _found(model)
    if found is None:
        return None
    provider, info = found
    when = _EPOCH + timedelta(days=day)
    try:
        asked = info.calc_price(Usage(input_tokens=_SOME), provider, genai_request_timestamp=when)
        answered = info.calc_price(Usage(output_tokens=_SOME), provider, genai_request_timestamp=when)
    except (LookupError, ValueError):
        return None
    price: ModelPrice = asked.model_price
    return Rate(
        asked.input_price * 10**9 if price.input_mtok is not None else None,
        answered.output_price * 10**9 if price.output_mtok is not None else None,
        embeds=price.output_mtok is None or "embed" in model.lower(),
    )


def _found(model: str) -> tuple[Any, Any] | None:
    """The vendor and model of a name such as `gpt-4o`, `openai/gpt-4o` or `text-embedding-3-small`."""
    from genai_prices.data_snapshot import get_snapshot

    prices = get_snapshot()
    vendor, slash, own = model.partition("/")
    tries = [(model, None), *((model, maker) for maker in _MAKERS)]
    for name, provider in [(own, vendor), (own, None), *tries] if slash else tries:
        try:
            return prices.find_provider_model(name, None, provider, None)
        except LookupError:
            continue
    return None
