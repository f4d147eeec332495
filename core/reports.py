"""The daily and the weekly report: what the account did, which signals there were, how the models' forecasts came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.alerts import Alert
from core.paper.predictions import track_record
from data.clock import iso
from data.market import DAY_MS

if TYPE_CHECKING:
    from core.dealing import Dealing

DAYS = {"daily": 1, "weekly": 7}
WAIT_MS = 3_600_000


@dataclass(frozen=True)
class Report:
    """A finished period: `kind` daily or weekly, [start, end) in UTC, Markdown text."""

    kind: str
    start_ms: int
    end_ms: int
    text: str

    @property
    def key(self) -> str:
        return f"report/{self.kind}/{iso(self.start_ms)[:10]}"

    def alert(self) -> Alert:
        return Alert(self.key, self.end_ms, "report", "", self.text)


def period(kind: str, now_ms: int) -> tuple[int, int]:
    """The newest finished UTC day, or week from Monday to Monday."""
    today = now_ms // DAY_MS * DAY_MS
    if kind == "daily":
        return today - DAY_MS, today
    monday = today - ((today // DAY_MS + 3) % 7) * DAY_MS  # 1970-01-01 was a Thursday
    return monday - 7 * DAY_MS, monday


def due(sextant: Dealing, kinds: Sequence[str], now_ms: int) -> list[Report]:
    """Reports whose period has ended since the account was opened and that are not written yet.

    A period is whole once its last bar is recorded; a report waits an hour for that, no longer: a runner that did not work says so.
    """
    account = sextant.broker.account()
    newest = None if account is None else sextant.broker.newest_bar(account)
    recorded_ms, out = 0 if newest is None else int(newest["at_ms"]), []
    for kind in kinds:
        start, end = period(kind, now_ms)
        whole = recorded_ms >= end or now_ms >= end + WAIT_MS
        if account is not None and end > account.opened_ms and whole and not sextant.paper_ledger.rows(
                "alerts", "key = ?", (f"report/{kind}/{iso(start)[:10]}",), select="id"):
            out.append(report(sextant, kind, start, end))
    return out


def report(sextant: Dealing, kind: str, start_ms: int, end_ms: int) -> Report:
    """The text of a period, from the ledger alone."""
    broker, ledger = sextant.broker, sextant.paper_ledger
    account = broker.account()
    lines = [f"**Sextant paper account, {kind}: {iso(start_ms)[:10]}" + (f" to {iso(end_ms)[:10]}**" if kind == "weekly" else "**")]
    if account is None:
        return Report(kind, start_ms, end_ms, "\n".join([*lines, "No paper account is open."]))
    curve = [(at, value) for at, value in sextant.paper_equity(account) if at <= end_ms]
    before = [value for at, value in curve if at <= start_ms]
    inside = [value for at, value in curve if start_ms < at]
    first = before[-1] if before else float(account.capital)
    if inside:
        lines.append(f"Equity {inside[-1]:,.2f} ({inside[-1] / first - 1:+.2%}), lowest {min(inside):,.2f}; since the opening "
                     f"{inside[-1] / float(account.capital) - 1:+.2%}.")
    else:
        lines.append("Nothing was recorded in this time: the runner did not work, or no candle closed.")
    closed = [h for h in sextant.paper_statement(account).closed if start_ms <= (h.closed_ms or 0) < end_ms]
    won = sum(h.pnl > 0 for h in closed)
    money = sum((h.pnl for h in closed), start=account.capital * 0)
    lines.append(f"{len(closed)} closed trades, {won} with a gain, {float(money):+,.2f}; fees {float(sum(h.fees for h in closed)):,.2f}."
                 if closed else "No trade was closed.")
    order = sorted(closed, key=lambda h: h.pnl)
    lines += [f"- {h.symbol} {'long' if h.side > 0 else 'short'} {float(h.pnl):+,.2f} ({h.reason.replace('_', ' ')}, {h.strategy})"
              for h in (order if len(order) <= 6 else order[:3] + order[-3:])]
    decided = ledger.rows("decisions", "account = ? and decided_ms > ? and decided_ms <= ? and state != 'hold'",
                          (account.number, start_ms, end_ms))
    lines.append(f"Signals: {_counted(decided)}." if decided else "No signal.")
    lines += _models(sextant, start_ms, end_ms)
    return Report(kind, start_ms, end_ms, "\n".join(lines))


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    return ", ".join(f"{n} {state}" for state, n in sorted(counts.items(), key=lambda x: -x[1]))


def _models(sextant: Dealing, start_ms: int, end_ms: int) -> list[str]:
    """How the forecasts of the period came out, by model."""
    rows = [r for r in sextant.log.rows(since_ms=start_ms) if r.bar_ms < end_ms]
    out = []
    for r in track_record(rows, end_ms):
        if (r["regime"], r["period"]) != ("all", "all"):
            continue
        brier = "" if r["brier"] is None else f", Brier {r['brier']:.3f}" + ("" if r["brier_base"] is None else
                                                                            f" (base rate {r['brier_base']:.3f})")
        out.append(f"Model {r['source']}: {r['made']} forecasts, {r['settled']} graded, {r['right']} of {r['calls']} calls right{brier}.")
    return out or ["No forecast was recorded."]
