"""Other futures for a series: cut off, replaced by nonsense, begun later; and whether the past feels it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.frames import COLUMNS, TIME_COLUMNS, Candles
from data.labels import make_labels
from data.market import DAY_MS, HOUR_MS
from data.simulator.market import EPOCH_MS

Series = Callable[[Candles], dict[str, np.ndarray]]

SYMBOL = "DOGEUSDT"  # the simulated symbol with holes, jumps and a wick
GROUP = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")  # what it is compared with
HISTORY_BARS = 2_600  # of candles given to an indicator: past every warm-up
FUTURE_BARS = 12  # poisoned bars after a cut; more find nothing more, a leak that reaches further also reaches these
SPAN_BARS = 1_000  # cuts of modules lie in this many bars
SEED = 20_261_120
NEWEST_MS = EPOCH_MS + 24_000 * HOUR_MS  # the simulated present: minutes and ticks exist for the days before it only


@dataclass(frozen=True)
class Finding:
    """One checked thing. `known` of its `comparisons` were of finite values; `words` names the first difference when it failed."""

    name: str
    kind: str
    causality: str
    comparisons: int
    known: int
    ok: bool
    words: str = ""


# -- futures --------------------------------------------------------------------------------------------------------


def poisoned(candles: Candles, last: int, kind: int) -> Candles:
    """The candles up to row `last` as they were, the next few replaced: NaN, 1e9, zero-range, reversed, or exploding."""
    stop = min(len(candles), last + 1 + FUTURE_BARS)
    kept, columns = candles.take(slice(0, stop)), {}
    ahead = slice(last + 1, stop)
    for name in COLUMNS:
        column = getattr(kept, name).copy()
        if name not in TIME_COLUMNS:
            column[ahead] = nonsense(column[ahead], column[last], kind)
        columns[name] = column
    return Candles.from_columns(kept.interval, columns, provenance=kept.provenance, halts=kept.halts)


def nonsense(future: np.ndarray, last: float, kind: int) -> np.ndarray:
    growth = np.exp(np.arange(1, len(future) + 1))
    return (np.full_like(future, np.nan), np.full_like(future, 1e9), np.full_like(future, last), future[::-1], last * growth)[kind]


POISONS = 5


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.asarray(a).tobytes() == np.asarray(b).tobytes() or bool(np.array_equal(a, b, equal_nan=True))


def chosen_cuts(candles: Candles, first: int, count: int, seed: int) -> list[int]:
    """Rows to cut after: half of them beside holes and at the edges of days, weeks and months, half anywhere."""
    rows = np.arange(first, len(candles) - FUTURE_BARS - 1)
    opened = candles.open_time[rows]
    day = opened % DAY_MS == 0
    week = (opened // DAY_MS) % 7 == 4
    hole = np.isin(rows, np.concatenate([[s.start - 1, s.start, s.start + 1] for s in candles.segments]))
    edges = rows[(day & week) | hole | np.roll(day & week, -1)]
    edges = np.concatenate((edges, rows[day | np.roll(day, -1)]))
    stream = np.random.default_rng(seed)
    dense = list(dict.fromkeys(edges.tolist()))[: count // 2]
    anywhere = stream.choice(rows, size=min(len(rows), count * 2), replace=False).tolist()
    return sorted(list(dict.fromkeys(dense + anywhere))[:count])


# -- series ---------------------------------------------------------------------------------------------------------


def check_series(name: str, kind: str, causality: str, series: Series, candles: Candles, cuts: Sequence[int], poisons: int,
                 warmup_bars: int = 0) -> Finding:
    """One indicator on one stretch of candles."""
    whole = series(candles)
    comparisons = known = 0
    for cut in cuts:
        trials: list[tuple[str, Candles]] = [("deleted", candles.take(slice(0, cut + 1)))]
        trials += [(f"poisoned ({p + 1})", poisoned(candles, cut, p)) for p in range(poisons)]
        for how, world in trials:
            try:
                answer = series(world)
            except (ValueError, FloatingPointError, IndexError, ZeroDivisionError) as error:
                return Finding(name, kind, causality, comparisons, known, False, f"future {how} after bar {cut}: it failed ({error})"[:160])
            for output, values in answer.items():
                comparisons += 1
                known += bool(np.isfinite(values[cut]))
                if not same(values[cut], whole[output][cut]):
                    words = f"future {how} after bar {cut}: {output} became {values[cut]:.6g}, was {whole[output][cut]:.6g}"
                    return Finding(name, kind, causality, comparisons, known, False, words)
    words = _start_shift(series, candles, whole, causality, warmup_bars) if warmup_bars else ""
    return Finding(name, kind, causality, comparisons, known, not words, words)


def _start_shift(series: Series, candles: Candles, whole: dict[str, np.ndarray], causality: str, warmup_bars: int) -> str:
    """Begin later; after the warm-up the values must agree."""
    for shift in (1, 7, 137):
        later = series(candles.take(slice(shift, None)))
        # A segment that begins before the shift is the one that changes; later ones are untouched anyway.
        for output, values in later.items():
            known = whole[output][shift:]
            settled = np.arange(len(values)) >= warmup_bars
            both = np.isfinite(values) & np.isfinite(known) & settled
            if not both.any():
                continue
            scale = float(np.std(known[both])) if causality == "R" else float(np.max(np.abs(known[both])))
            limit = (1e-6 if causality == "R" else 1e-9) * max(scale, 1e-300)
            worst = float(np.max(np.abs(values - known)[both]))
            if worst > limit and worst > 1e-12:
                return f"history begun {shift} bars later: {output} differs by {worst:.3g}, {limit:.3g} allowed"
    return ""


def check_label(name: str, candles: Candles, cuts: Sequence[int], poisons: int) -> Finding:
    """A label may look ahead to the end of its span and no further: nothing after t1 may change it, and before t1 it is not known."""
    whole = make_labels(candles, name)
    comparisons = known = 0
    for row in cuts:
        if not np.isfinite(whole.value[row]):
            continue
        end = int(np.searchsorted(candles.close_time, whole.t1[row]))
        trials = [("deleted after its span", candles.take(slice(0, end + 1)))]
        trials += [(f"poisoned ({p + 1}) after its span", poisoned(candles, end, p)) for p in range(poisons)]
        for how, world in trials:
            again = make_labels(world, name).value[row]
            comparisons, known = comparisons + 1, known + 1
            if not same(again, whole.value[row]):
                words = f"future {how} of bar {row}: became {again:.6g}, was {whole.value[row]:.6g}"
                return Finding(name, "label", "", comparisons, known, False, words)
        early = make_labels(candles.take(slice(0, end)), name).value[row]
        comparisons += 1
        if np.isfinite(early):
            return Finding(name, "label", "", comparisons, known, False, f"bar {row} has a label before the end of its span")
    return Finding(name, "label", "", comparisons, known, True)
