"""What users read about the sources: one row each, and the sentences of the banner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from data.clock import age_text
from data.market import Market
from data.sources.base import Source
from data.sources.budget import ChannelState, blocked_words, wait_words

CLOCK_LIMIT_MS = 2_000  # a larger difference from the exchange's clock is said (reliability.md 3)


class State(StrEnum):
    UNKNOWN = "not asked yet"
    OK = "ok"
    WAITING = "waiting"
    BLOCKED = "blocked"
    DOWN = "down"


@dataclass(frozen=True)
class HealthRow:
    """One source now. `words` is a sentence for people; `retry_in_s` counts down to the next request where one must wait.

    `used_weight` and `weight_1m` are the request weight of the running minute and its limit (None where the vendor has none).
    """

    source: str
    channel: str
    host: str
    state: State
    words: str
    retry_in_s: int
    last_success_ms: int | None
    latency_ms: float | None
    used_weight: int
    weight_1m: int | None
    lacks: str
    provenance: str
    clock_offset_ms: int | None = None


def health_row(source: Source, state: ChannelState, now_ms: int, offset_ms: int | None) -> HealthRow:
    channel = source.channel
    until = 0
    if state.blocked_until_ms > now_ms:
        kind, until, words = State.BLOCKED, state.blocked_until_ms, blocked_words(channel, state.blocked_status, state.blocked_until_ms)
    elif state.wait_until_ms > now_ms:
        kind, until, words = State.WAITING, state.wait_until_ms, wait_words(channel, state.wait_until_ms)
    elif state.last_error:
        since = f", last good answer {age_text(now_ms - state.last_success_ms)} ago" if state.last_success_ms else ""
        kind, words = State.DOWN, f"{state.last_error}{since}"
    elif state.last_success_ms:
        kind, words = State.OK, f"answered {age_text(now_ms - state.last_success_ms)} ago"
    else:
        kind, words = State.UNKNOWN, "not asked yet"
    return HealthRow(source.name, channel.name, channel.host, kind, words, max(0, -(-(until - now_ms) // 1000)) if until else 0,
                     state.last_success_ms or None, state.latency_ms if state.last_success_ms else None, state.used_weight,
                     state.weight_1m or channel.weight_1m, source.lacks, source.provenance, offset_ms)


def degraded_sentences(sources: Sequence[Source], rows: Sequence[HealthRow], offset_ms: int | None) -> tuple[str, ...]:
    """What does not work and what stands in; empty while nothing is wrong."""
    by_name = {row.channel: row for row in rows}
    bad = {name for name, row in by_name.items() if row.state in (State.BLOCKED, State.WAITING, State.DOWN)}
    out = []
    for market in Market:
        chain = [source for source in sources if market in source.candle_markets]
        if not chain or chain[0].channel.name not in bad:
            continue
        first, rest = chain[0], [source for source in chain[1:] if source.channel.name not in bad]
        what = "Spot candles" if market is Market.SPOT else "Futures candles"
        still = (f"{what} come from the {rest[0].name} ({rest[0].lacks})" if rest else
                 f"{what} are not fetched now; stored data and your own files still work")
        out.append(f"{by_name[first.channel.name].words}. {still}.")
    futures = by_name.get("fapi")
    if futures is not None and "fapi" in bad:
        stand_in = [source.name for source in sources if source.channel.name in ("archive", "okx") and source.channel.name not in bad]
        out.append("Funding, open interest and ratios come from " + " and ".join(
            f"{name} (another exchange)" if name == "OKX" else f"the {name} (until yesterday)" for name in stand_in) + "."
            if stand_in else "Funding, open interest and ratios are not fetched now; modules that need them say so.")
    others = [source for source in sources if not source.candle_markets and source.channel.name in bad]
    out += [f"{by_name[source.channel.name].words}. {', '.join(str(kind) for kind in source.provides).capitalize()} "
            f"{'is' if len(source.provides) == 1 else 'are'} not fetched from there now." for source in others]
    if offset_ms is not None and abs(offset_ms) > CLOCK_LIMIT_MS:
        out.append(f"Clock differs by {age_text(abs(offset_ms))} from the exchange's: set this computer's clock.")
    return tuple(out)
