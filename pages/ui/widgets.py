"""Small pieces that look the same on every page: prices, times, score cards, part tables, explanations, downloads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import streamlit as st

from analysis.module import ScoreModule
from analysis.report import ModuleReport
from data.clock import iso
from data.observations import coin_of

if TYPE_CHECKING:
    import pandas as pd

    from core.badge import Badge
    from core.sextant import Sextant


def zone() -> ZoneInfo:
    """The browser's time zone; UTC until it is known."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (AttributeError, ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def local_times(ms: np.ndarray) -> np.ndarray:
    """Zone-less local datetimes of UTC milliseconds: what Plotly draws fastest."""
    import pandas as pd

    return pd.to_datetime(ms, unit="ms", utc=True).tz_convert(zone()).tz_localize(None).to_numpy()


def local_text(ms: int) -> str:
    """A time for reading, in the browser's zone."""
    import pandas as pd

    return pd.Timestamp(ms, unit="ms", tz="UTC").tz_convert(zone()).strftime("%Y-%m-%d %H:%M")


def decimals(prices: Sequence[float] | np.ndarray) -> int:
    """The tick's decimals, inferred from the prices themselves, 0 to 8."""
    for places in range(9):
        if all(math.isclose(p, round(p, places), rel_tol=0, abs_tol=1e-10) for p in list(prices)[-60:]):
            return places
    return 8


def price_text(price: float, places: int) -> str:
    return f"{price:,.{places}f}"


def short(symbol: str) -> str:
    """A symbol as charts name it: the coin, where it is traded against dollars."""
    return coin_of(symbol)


def quote_of(symbols: Iterable[str]) -> str:
    """The currency in which all of these symbols are priced, a space before it; empty where they differ or it is not known."""
    quotes = {symbol.removeprefix(coin_of(symbol)) for symbol in symbols}
    return f" {quotes.pop()}" if len(quotes) == 1 and quotes != {""} else ""


def change_text(change: float | None) -> str:
    """A signed change with an arrow, so that colour is never the only sign."""
    if change is None:
        return "unknown"
    return f"{'▲' if change > 0 else '▼' if change < 0 else '■'} {change:+.2%}"


def shown_bar(report: ModuleReport) -> float | None:
    """Where a score's bar ends, 0..1: a signed score (modules C and E) has its zero in the middle; None where it is unknown."""
    if report.score is None:
        return None
    value = 0.5 + 0.5 * report.score if report.letter in ("C", "E") else report.score
    return min(1.0, max(0.0, value))


def answer(report: ModuleReport) -> str:
    """A report's answer in one line; why it is unknown stands beside it."""
    if report.score is None:
        return "Unknown."
    trust = "" if report.confidence is None else f", confidence {report.confidence:.0%}"
    unusual = "" if report.percentile is None else f"; higher than {report.percentile:.0%} of its last 500 values"
    label = f" ({report.label.replace('_', ' ').lower()})" if report.label else ""
    return f"Score {report.score:.2f}{label}, coverage {report.coverage:.0%}{trust}{unusual}."


def part_title(sextant: Sextant, name: str) -> str:
    """The title of a part: "A.rsi" is a metric of module A."""
    letter, _, metric = name.partition(".")
    if metric:
        return sextant.module(letter).metric(metric).title
    return name.replace("_", " ")


def parts_frame(report: ModuleReport) -> pd.DataFrame:
    """The parts of a report as a table, heaviest contribution first."""
    import pandas as pd

    rows = [{"metric": p.title, "value": p.value, "unit": p.unit, "unit score": p.k, "weight": p.weight or None,
             "contribution": p.contribution, "state": p.status, "note": p.note} for p in report.parts]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(("value", "unit score", "weight", "contribution"), float))
    return frame.sort_values("contribution", key=lambda c: -c.abs().fillna(-1), kind="stable", ignore_index=True)


def parts_table(report: ModuleReport) -> None:
    """All metrics of a module with value, weight and contribution; contributions add up to the raw score."""
    frame = parts_frame(report)
    st.dataframe(frame, hide_index=True, width="stretch", placeholder="", column_config={
        "metric": st.column_config.TextColumn("Metric", pinned=True),
        "value": st.column_config.NumberColumn("Value", format="%.5g", help="In the unit beside it."),
        "unit": st.column_config.TextColumn("Unit"),
        "unit score": st.column_config.NumberColumn("Unit score", format="%.3f", help="After its normaliser; signed metrics lie in -1..1."),
        "weight": st.column_config.NumberColumn("Weight", format="%.2f", help="Share of the module; metrics without one are shown only."),
        "contribution": st.column_config.NumberColumn("Contribution", format="%+.4f", help=f"They add up to {_raw_text(report)}."),
        "state": st.column_config.TextColumn("State", help="ok, fallback, warmup, missing, stale, degenerate or failed."),
        "note": st.column_config.TextColumn("Why", width="large"),
    })
    download(frame, f"{report.symbol}-{report.interval}-{report.slug}")


def _raw_text(report: ModuleReport) -> str:
    return "the raw score" if report.raw is None else f"the raw score {report.raw:+.4f}"


BADGE = {"passed": ("green", ":material/verified:"), "failed": ("red", ":material/error:"),
         "outdated": ("orange", ":material/update:"), "unchecked": ("gray", ":material/help:")}


def explanation(module: ScoreModule, lookahead: Badge) -> None:
    """The formula and its source, straight from the code's docstring and the metric table, and the look-ahead badge."""
    with st.expander("How is this computed?", icon=":material/functions:"):
        colour, icon = BADGE[lookahead.state]
        st.badge(f"Look-ahead {lookahead.state}", color=colour, icon=icon, help=lookahead.words)  # type: ignore[arg-type]
        st.markdown(plain(module.explanation()))
        rows = [{"Metric": m.title, "Formula": m.formula, "Weight": m.weight or None, "Needs bars": m.warmup_bars, "Source": m.source}
                for m in module.metrics]
        st.dataframe(rows, hide_index=True, width="stretch")


def plain(text: str) -> str:
    """Text safe to show as Markdown: HTML and maths marks lose their meaning."""
    return text.replace("<", "&lt;").replace("$", "\\$").replace("~", "\\~")


def download(frame: pd.DataFrame, name: str) -> None:
    """A table as CSV, written when somebody asks for it."""
    st.download_button("CSV", partial(csv_bytes, frame), f"{name}.csv", "text/csv", icon=":material/download:", key=f"csv-{name}",
                       help="The table above, as a file.", on_click="ignore")


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Text cells that a spreadsheet would run as a formula are quoted."""
    def safe(cell: Any) -> Any:
        return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(cell) else cell

    return frame.map(safe).to_csv(index=False, lineterminator="\n").encode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_of_line(provenance: str, as_of_ms: int) -> str:
    """The stamp under a chart."""
    return f"{provenance} · as of {local_text(as_of_ms + 1)} ({zone().key}) · {iso(as_of_ms)}"


def empty_state(words: str, button: str, action: Callable[[], None]) -> None:
    """Nothing here yet: how to fill it, with the button to do so."""
    with st.container(border=True):
        st.write(words)
        if st.button(button, type="primary"):
            action()
