"""A month of paper trading from the page: a real browser opens the account and starts the runner, a real process trades it, and recorded
candles come through the loopback exchange hour by hour.

`python -m tests.paper_month RECORDINGS [--hours 720] [--shots FOLDER]`. All processes tell the time of the exchange's virtual clock; its
streams are blocked, so candles come by REST at each close. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from core.paper.ledger import Ledger
from core.settings import Settings
from core.wiring import build
from data.clock import parse_time
from data.frames import Candles
from data.market import HOUR_MS, Interval, Market, SeriesKey
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import STREAM_HOSTS
from data.simulator.venue_market import rows_of
from data.simulator.venue_thread import VenueHandle, running_venue
from tests.serving import CHROMIUM_ARGUMENTS, ROOT, chromium_path, serving, settled, venue_ports

OPENED = parse_time("2025-08-31T00:10:00Z")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
AFTER_CLOSE_MS = 3_000
PATIENCE_S = 120


def recorded_hours(recordings: Path, home: Path) -> dict[str, Candles]:
    """Hourly candles of five real months, imported."""
    sextant = build(Settings(home=home, world="real", network="off"))
    for symbol in SYMBOLS:
        folder = recordings / "vision" / "data" / "spot" / "monthly" / "klines" / symbol / "1h"
        sextant.import_files([f for month in range(5, 10) for f in folder.glob(f"*2025-{month:02}.zip")])
    return {s: sextant.candles(SeriesKey(s, Interval.H1)) for s in SYMBOLS}


def replaying(market, recorded: dict[str, Candles]) -> None:
    """Make a venue's spot hours the recorded ones; the bar under way shows its open alone, as at its first trade."""
    made = market.klines

    def klines(symbol, side, interval, start, end, limit, now):
        if side is not Market.SPOT or interval != "1h" or symbol not in recorded:
            return made(symbol, side, interval, start, end, limit, now)
        rows = [r for r in rows_of(recorded[symbol]) if r[0] <= now and (start is None or r[0] >= start) and (end is None or r[0] <= end)]
        rows = rows[:limit] if start is not None else rows[-limit:]
        return [r if r[6] < now else (r[0], r[1], r[1], r[1], r[1], 0.0, r[6], 0.0, 0, 0.0, 0.0) for r in rows]

    market.klines = klines


class Month:
    """The exchange's clock, the file that tells it, and the ledger that says how far the runner is."""

    def __init__(self, venue: VenueHandle, clock: VirtualClock, told: Path, ledger: Path) -> None:
        self._venue, self._clock, self._told, self._ledger = venue, clock, told, ledger
        self.tell()

    def tell(self) -> None:
        beside = self._told.with_suffix(".new")
        beside.write_text(str(self._clock.now_ms()))
        beside.replace(self._told)

    def bars(self) -> int:
        with suppress(Exception):
            return len(Ledger(self._ledger).rows("equity"))
        return 0

    def hour(self, number: int) -> None:
        """Let the next candle close and wait until the runner has recorded it."""
        until = (OPENED // HOUR_MS + 1 + number) * HOUR_MS + AFTER_CLOSE_MS
        while self._clock.now_ms() < until:  # a watchdog of the runner's feed must not think that hours went by at once
            self._venue.advance(min(until - self._clock.now_ms(), 20 * 60_000))
            self.tell()
        deadline = time.monotonic() + PATIENCE_S
        while self.bars() <= number:
            assert time.monotonic() < deadline, f"hour {number} was not recorded"
            time.sleep(0.05)


def month(recordings: Path, hours: int, shots: Path | None) -> dict:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder, clock = Path(name), VirtualClock(OPENED)
        recorded = recorded_hours(recordings, folder / "recorded")
        options = VenueOptions(port=venue_ports(), blocked=STREAM_HOSTS)
        with running_venue(clock, options) as venue:
            replaying(venue.venue.market, recorded)
            told = folder / "time"
            run = Month(venue, clock, told, folder / "home" / "paper" / "loopback" / "ledger.sqlite")
            variables = {"PYTHONPATH": f"{ROOT / 'tests' / 'virtual_time'}{os.pathsep}{ROOT}", "VIRTUAL_TIME": str(told),
                         "SEXTANT_ENDPOINT": venue.urls.api, "SEXTANT_NETWORK": "auto", "SEXTANT_WATCHLIST": ",".join(SYMBOLS)}
            browser = driver.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
            with serving(folder / "home", **variables) as server:
                page = browser.new_page(viewport={"width": 1280, "height": 900})

                def shot(what: str) -> None:
                    settled(page, PATIENCE_S)
                    if shots is not None:
                        page.screenshot(path=str(shots / f"{what}.png"), full_page=True)

                page.goto(server.url)
                page.get_by_text("Scores side by side").wait_for(timeout=PATIENCE_S * 1000)
                page.goto(f"{server.url}/paper")
                page.locator(".st-key-pp-open button").first.wait_for(timeout=PATIENCE_S * 1000)
                settled(page, PATIENCE_S)
                chooser = page.locator('[class*="st-key-pp-symbols-"] input')
                for symbol in SYMBOLS[1:]:
                    chooser.fill(symbol)
                    chooser.press("Enter")
                    page.wait_for_timeout(600)
                page.keyboard.press("Escape")
                settled(page, PATIENCE_S)
                shot("form")
                page.locator(".st-key-pp-open button").first.click()
                page.locator(".st-key-pp-stop-runner").first.wait_for(timeout=PATIENCE_S * 1000)
                for number in range(hours):
                    run.hour(number)
                    if number % 120 == 12:
                        shot(f"hour-{number}")
                page.reload()
                page.locator(".st-key-pp-stop-runner").first.wait_for(timeout=PATIENCE_S * 1000)
                shot("paper")
                page.goto(f"{server.url}/history")
                page.get_by_role("heading", name="History", exact=True).wait_for(timeout=PATIENCE_S * 1000)
                shot("history")
                page.goto(f"{server.url}/paper")
                page.get_by_role("heading", name="Paper trading", exact=True).wait_for(timeout=PATIENCE_S * 1000)
                shot("before-stop")
                page.locator(".st-key-pp-stop-runner button").first.click(timeout=PATIENCE_S * 1000)
                page.locator(".st-key-pp-start-runner").first.wait_for(timeout=PATIENCE_S * 1000)
                environment = {k: v for k, v in os.environ.items() if not k.startswith("SEXTANT_")} | variables | {
                    "SEXTANT_HOME": str(server.home)}

                def command(*words: str) -> dict:
                    done = subprocess.run([sys.executable, "-m", "core", *words, "--json"], cwd=ROOT, env=environment, capture_output=True,
                                          text=True)
                    return {"exit": done.returncode} | json.loads(done.stdout or "{}")

                twin, proven, status = command("paper", "twin"), command("verify"), command("paper", "status")
            browser.close()
        ledger = Ledger(run._ledger)
        return {"bars": len(ledger.rows("equity")), "decisions": len(ledger.rows("decisions")), "fills": len(ledger.rows("fills")),
                "improper requests": venue.venue.improper, "twin": twin, "verify": proven, "status": status}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--hours", type=int, default=720)
    parser.add_argument("--shots", type=Path)
    chosen = parser.parse_args()
    if chosen.shots is not None:
        chosen.shots.mkdir(parents=True, exist_ok=True)
    print(json.dumps(month(chosen.recordings, chosen.hours, chosen.shots), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
