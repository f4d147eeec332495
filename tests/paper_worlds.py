"""A paper account on the simulated exchange, on a clock that moves only when a test says so."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from core.paper.broker import Broker
from core.paper.ledger import FIRST, Ledger, _schema, seal
from core.paper.migrations import CHAINED
from core.paper.window import Terms
from core.settings import Settings
from core.sextant import Sextant
from core.wiring import build
from data.clock import parse_time
from data.market import HOUR_MS, MINUTE_MS
from data.storage.durable import no_fault

OPENED = parse_time("2026-09-01T00:10:00Z")
MORNING = parse_time("2026-09-01T08:00:00Z")  # where accounts by the minute begin
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
AFTER_CLOSE_MS = 3_000


class MovingClock:
    """Stands still until it is moved."""

    def __init__(self, at_ms: int = MORNING) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


class PaperWorld:
    """A home with an account; `hours(n)` lets the runner's work happen after each of n candles."""

    def __init__(self, home: Path, *, rule: str = "ema_cross,breakout@4h", market: str = "spot", symbols=SYMBOLS, fault=no_fault,
                 opened: int = OPENED, **options) -> None:
        self.clock = MovingClock(opened)
        self.home = home
        self.sextant = build(Settings(home=home, world="simulated", network="off"), self.clock)
        self.ledger = Ledger(self.sextant.paper_ledger.path, fault)
        self.broker = Broker(self.ledger, self.sextant, "code")
        if self.broker.account() is None:
            self.broker.open(Terms(tuple(symbols), rule, {}, {"interval": "1h", "market": market, **options}))
        else:
            self.clock.at_ms = self.next_close()

    @property
    def account(self):
        return self.broker.account()

    def next_close(self) -> int:
        """When the next bar is closed and final: worked out from the ledger alone, as a clock that stood still while nobody ran."""
        newest = self.broker.newest_bar(self.account)
        first = (self.account.opened_ms // HOUR_MS + 1) * HOUR_MS
        return (first if newest is None else int(newest["at_ms"]) + HOUR_MS) + AFTER_CLOSE_MS

    def hours(self, count: int, *, hook=None):
        done = []
        for _ in range(count):
            self.clock.at_ms = self.next_close()
            done += self.broker.step(hook=hook)
        return done

    def until(self, bars: int) -> None:
        """Go on until so many bars are recorded."""
        while len(self.ledger.rows("equity", "account = ?", (self.account.number,))) < bars:
            self.hours(1)

    def price(self, symbol: str) -> float:
        return float(self.sextant.candles(self.sextant.key(symbol, "1h", self.account.terms.market)).closed_before(
            self.clock.at_ms).close[-1])

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.ledger.canonical()).encode()).hexdigest()


def minutes_account(home: Path, clock: MovingClock, *, bars: int, rule: str = "ema_cross", symbols: tuple[str, ...] = SYMBOLS) -> Sextant:
    """A spot account at 1m, opened a second after the clock's time and brought forward so many bars, each seen in time."""
    sextant = build(Settings(home=home, world="simulated", network="off"), clock)
    clock.at_ms += 1_000
    sextant.paper_open(Terms(symbols, rule, {}, {"interval": "1m", "market": "spot"}))
    minutes(sextant, clock, bars)
    return sextant


def minutes(sextant: Sextant, clock: MovingClock, count: int) -> None:
    """Let so many candles close, each recorded three seconds later."""
    for _ in range(count):
        clock.at_ms = clock.at_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS + AFTER_CLOSE_MS
        sextant.broker.step()


def meddle(world: PaperWorld, stream: random.Random) -> None:
    """What a restless person asks; a function of the stream and the prices alone."""
    symbol, market = stream.choice(SYMBOLS), str(world.account.terms.market)
    kind = stream.choice(["place"] * 5 + ["close", "modify", "cancel", "reduce", "pause", "kill"] + ["resume", "rearm"] * 3)
    side = 1 if market == "spot" else stream.choice([1, -1])
    price = world.price(symbol)
    stop, target = stream.uniform(0.005, 0.03), stream.uniform(0.005, 0.05)
    content = {"place": {"side": side, "stop": price * (1 - side * stop), "target": price * (1 + side * target)},
               "modify": {"stop": price * (1 - side * stop)}, "reduce": {"quantity": 0.01}}.get(kind, {})
    needs = kind in ("place", "close", "modify", "cancel", "reduce")
    world.broker.control(kind, symbol=symbol if needs else "", content=content)


def live_hours(world: PaperWorld, count: int, seed: int) -> None:
    """Hours with a person asking for something now and then."""
    stream = random.Random(seed)
    for hour in range(count):
        world.hours(1)
        if hour % 11 == 4:
            meddle(world, stream)


def reseal(path: Path, edit) -> None:
    """Change rows as somebody would who knows how the chain is made: triggers away, edit, every hash anew, triggers and heads back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        db.execute("begin")  # one flush instead of one a row
        triggers = [r["sql"] for r in db.execute("select sql from sqlite_master where type = 'trigger'")]
        for r in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            db.execute(f"drop trigger {r['name']}")
        edit(db)
        heads = {}
        for table in CHAINED:
            previous = FIRST
            for number, row in enumerate(db.execute(f"select * from {table} order by id").fetchall(), start=1):
                content = {k: row[k] for k in row.keys() if k not in ("id", "hash")} | {"previous": previous}
                sealed = seal(content)
                db.execute(f"update {table} set id = ?, previous = ?, hash = ? where id = ?", (number, previous, sealed, row["id"]))
                previous = sealed
            heads[table] = previous
        for sql in triggers:
            db.execute(sql)
        db.execute("commit")
        assert dict(db.execute("select name, sql from sqlite_master where sql is not null")) == _schema()
    path.with_suffix(".head").write_text(json.dumps(heads))
