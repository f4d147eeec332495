"""The ledger: migrations, chains, and fifty ways to tell a lie in it, each found although the liar re-made the chain."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from core.paper.ledger import Ledger
from core.paper.migrations import CHAINED, MIGRATIONS
from core.paper.vault import backup, export, restore
from core.paper.verify import verify
from data.errors import DamagedState, InputError
from tests.paper_worlds import PaperWorld, live_hours, reseal

CELLS = 60  # a thousand in the long command


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """An account with a past on perpetuals, limits strict, a person asking; its folder is copied for each lie."""
    world = PaperWorld(tmp_path_factory.mktemp("paper"), market="perp", rule="ema_cross,breakout@4h")
    live_hours(world, 100, 3)
    assert verify(world.ledger) == [] and len(world.ledger.rows("fills")) > 20 and world.ledger.rows("cash", "kind = 'funding'")
    return world


@pytest.fixture
def copy(told, tmp_path):
    """The same ledger, to be spoiled."""
    fresh = Ledger(tmp_path / "ledger.sqlite")
    with told.ledger.reading() as db, closing(sqlite3.connect(fresh.path)) as into:
        db.backup(into)
    fresh.keep_heads()
    return fresh


def test_a_ledger_of_the_first_version_is_brought_to_the_newest(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(MIGRATIONS[0])
        db.execute("pragma user_version = 1")
        db.commit()
    ledger = Ledger(path)
    assert ledger.rows("accounts") == [] and ledger.verify() == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone()[0] == len(MIGRATIONS)
        db.execute("pragma user_version = 99")
    with pytest.raises(DamagedState, match="newer Sextant"):
        Ledger(path).rows("accounts")


def test_what_belongs_together_is_written_together_or_not_at_all(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    row = {"at_ms": 1, "kind": "k", "words": "w", "content": "{}"}
    with pytest.raises(RuntimeError), ledger.transaction(5) as change:
        change.add("audit", row)
        raise RuntimeError
    assert ledger.rows("audit") == []
    with ledger.transaction(5) as change:
        assert change.add("alerts", {"key": "a", "at_ms": 1, "kind": "test", "symbol": "", "words": "w", "content": "{}"})
        assert not change.add("alerts", {"key": "a", "at_ms": 2, "kind": "test", "symbol": "", "words": "again", "content": "{}"})
    assert len(ledger.rows("alerts")) == 1 and ledger.verify() == []


def test_any_changed_cell_is_found(copy, seed):
    assert changed_cells(copy, seed, CELLS) == CELLS


@pytest.mark.long
def test_a_thousand_changed_cells_are_found(copy, seed):
    assert changed_cells(copy, seed + 1, 1_000) == 1_000


def changed_cells(copy, seed, count):
    """How many of so many changed cells `verify` finds."""
    stream, found = random.Random(seed), 0
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        triggers = db.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        for t in triggers:
            db.execute(f"drop trigger {t['name']}")
        full = [t for t in CHAINED if db.execute(f"select count(*) from {t}").fetchone()[0]]
        for _ in range(count):
            table = stream.choice(full)
            row = dict(db.execute(f"select * from {table} order by random() limit 1").fetchone())
            name = stream.choice([n for n in row if n != "id"])
            other = row[name] + 1 if isinstance(row[name], int) else row[name] + " " if isinstance(row[name], str) else 1
            db.execute(f"update {table} set {name} = ? where id = ?", (other, row["id"]))
            for t in triggers:
                db.execute(t["sql"])
            faults = copy.verify()
            found += any(f.startswith((f"{table} row", f"{table}:")) for f in faults)
            for t in triggers:
                db.execute(f"drop trigger {t['name']}")
            db.execute(f"update {table} set {name} = ? where id = ?", (row[name], row["id"]))
    return found


def bump(text: str, by: str = "0.01") -> str:
    return str(Decimal(text) + Decimal(by))


def lie(table, column, change, where="id = (select max(id) from {t})"):
    """Change one column of one row, as text or number."""
    def edit(db):
        place = where.format(t=table)
        row = db.execute(f"select * from {table} where {place}").fetchone()
        assert row is not None, f"no row of {table} where {place}"
        db.execute(f"update {table} set {column} = ? where id = ?", (change(row[column]), row["id"]))
    return edit


def inside(table, name, change, where="id = (select max(id) from {t})"):
    """Change one value of a JSON column."""
    column = "state" if table == "equity" else "content"

    def edit(text):
        content = json.loads(text)
        holder = content
        *path, last = name.split(".")
        for part in path:
            holder = holder[next(iter(holder)) if part == "*" else part]
        last = next(iter(holder)) if last == "*" else last
        holder[last] = change(holder[last])
        return json.dumps(content, sort_keys=True)

    return lie(table, column, edit, where)


def drop(table, where):
    return lambda db: db.execute(f"delete from {table} where id = ({where})")


def twice(table, changes):
    """The newest row again, with other values where a key asks for it."""
    def edit(db):
        row = dict(db.execute(f"select * from {table} order by id desc limit 1").fetchone())
        row |= {"id": row["id"] + 1, "hash": "x"} | changes(row)
        db.execute(f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", tuple(row.values()))
    return edit


ENTER, LEAVE = "effect = 'enter' order by id desc limit 1", "effect = 'leave' order by id desc limit 1"
PLACED, FUNDING = "event = 'placed' and strategy != 'manual' order by id desc limit 1", "kind = 'funding' order by id desc limit 1"
ORDERED, HELD = "state = 'ordered' order by id desc limit 1", "state like '%\"entry_bar\"%' order by id desc limit 1"
FIRST_FILL = "select min(id) from fills"
LIES = {
    "cash of a fill": ("L1", lie("cash", "amount", bump, "kind = 'fill' order by id desc limit 1")),
    "balance": ("L1", lie("cash", "balance", bump)),
    "a funding payment": ("L1", lie("cash", "amount", bump, FUNDING)),
    "funding of what is not held": ("L1", lie("cash", "key", lambda k: "funding/NOSUCH/" + k.split("/")[2], FUNDING)),
    "the deposit": ("L1", lie("cash", "amount", lambda a: bump(a, "5000"), "kind = 'deposit'")),
    "an unknown movement": ("L1", lie("cash", "kind", lambda _: "gift", FUNDING)),
    "the capital": ("L1", lie("accounts", "capital", lambda c: bump(c, "1000"))),
    "price of an entry": ("L1", lie("fills", "price", bump, ENTER)),
    "price of an exit": ("L1", lie("fills", "price", lambda p: bump(p, "-0.01"), LEAVE)),
    "quantity of an entry": ("L1", lie("fills", "quantity", lambda q: str(Decimal(q) * 2), ENTER)),
    "quantity of an exit": ("L1", lie("fills", "quantity", lambda q: str(Decimal(q) / 2), LEAVE)),
    "a fee": ("L1", lie("fills", "fee", lambda f: str(Decimal(f) / 2), ENTER)),
    "the fee's rate": ("L1", inside("fills", "fee_rate", lambda r: r / 2, ENTER)),
    "side of a fill": ("L1", lie("fills", "side", lambda s: -s, ENTER)),
    "effect of a fill": ("L1", lie("fills", "effect", lambda _: "enter", LEAVE)),
    "equity": ("L1", lie("equity", "equity", bump)),
    "cash at the close": ("L1", lie("equity", "cash", bump)),
    "gross": ("L1", lie("equity", "gross", bump)),
    "cash of the kept state": ("L1", inside("equity", "cash", lambda c: c + 1.0)),
    "a held quantity": ("L1", inside("equity", "positions.*.quantity", lambda q: q * 2, HELD)),
    "a held side": ("L1", inside("equity", "positions.*.side", lambda s: -s, HELD)),
    "a forgotten position": ("L1", inside("equity", "positions", lambda _: {}, HELD)),
    "a mark": ("L1", inside("equity", "marks", lambda m: {s: p * 1.1 for s, p in m.items()}, HELD)),
    "a fill taken away": ("L1", drop("fills", FIRST_FILL)),
    "cash of a fill taken away": ("L1", drop("cash", "select max(id) from cash where kind = 'fill'")),
    "a fill twice": ("L1", twice("fills", lambda r: {"key": r["key"][:-1] + "9"})),
    "terms that cannot be read": ("L1", lie("accounts", "content", lambda _: "{}")),
    "a decision off the grid": ("L2", lie("decisions", "bar_ms", lambda b: b + 1)),
    "a decision of a stranger": ("L2", lie("decisions", "symbol", lambda _: "DOGEUSDT")),
    "key of an order": ("L2", lie("orders", "key", lambda k: k + "0", PLACED)),
    "key of a fill": ("L2", lambda db: (lie("fills", "key", lambda k: k[:-1] + "7", ENTER)(db), db.execute(
        "update cash set key = substr(key, 1, length(key) - 1) || '7' where key = (select key from cash where key not in "
        "(select key from fills) and kind = 'fill')"))),
    "a fill without an order": ("L3", drop("orders", "select max(id) from orders where event = 'placed' and key in (select order_key from "
                                                     "fills)")),
    "an order without a decision": ("L3", drop("decisions", "select id from decisions where state = 'ordered' limit 1")),
    "a decision that says otherwise": ("L3", lie("decisions", "state", lambda _: "hold", ORDERED)),
    "ordered without an order": ("L3", lie("decisions", "state", lambda _: "ordered", "state = 'hold' order by id desc limit 1")),
    "a fill of another transaction": ("L3", lie("fills", "tx", lambda t: t + 1, ENTER)),
    "an order of another transaction": ("L3", lie("orders", "tx", lambda t: t - 1, PLACED)),
    "a bar out of order": ("L3", lie("equity", "bar_ms", lambda b: b - 5_000 * 3_600_000)),
    "a bar's close": ("L3", lie("equity", "at_ms", lambda a: a + 1)),
    "a bar taken away": ("L3", drop("equity", "select max(id) from equity")),
    "an order nobody asked for": ("L3", drop("controls", "select max(id) from controls where kind = 'place'")),
    "a step": ("L4", inside("fills", "step", lambda _: 0.7, ENTER)),
    "a least notional": ("L4", inside("fills", "minimum", lambda _: 1e9, ENTER)),
    "a candle's low": ("L4", inside("fills", "low", lambda low: low * 1.5, ENTER)),
    "a candle's high": ("L4", inside("fills", "high", lambda high: high * 0.5, ENTER)),
    "a better price": ("L4", lie("fills", "reference", lambda r: str(Decimal(r) * 2), "effect = 'enter' and side = 1 limit 1")),
    "a fill before its order": ("L4", lie("fills", "filled_ms", lambda t: t - 2 * 3_600_000, ENTER)),
    "an order before its candle closed": ("L4", lie("orders", "at_ms", lambda t: t - 3_600_000, PLACED)),
    "more risk than allowed": ("L6", inside("orders", "stop", lambda s: s * 50, "event = 'placed' and strategy != 'manual' and key in "
                                            "(select order_key from fills) order by id desc limit 1")),
    "a smaller equity behind an order": ("L6", inside("orders", "equity", lambda e: e / 50, "event = 'placed' and key in (select order_key "
                                                      "from fills) order by id desc limit 1")),
    "a cap that was lowered": ("L6", inside("accounts", "options", lambda o: o | {"position_cap": 0.001})),
    "fewer positions allowed": ("L6", inside("accounts", "options", lambda o: o | {"max_positions": 1})),
    "a request that was never done": ("L3", lambda db: db.execute(
        "delete from orders where id = (select min(id) from orders where event = 'done')")),
    "a decision that is not there": ("L3", lambda db: db.execute(
        "delete from decisions where id = (select max(id) from decisions where state = 'hold')")),
    "a message of no alert": ("L3", lambda db: db.execute("insert into outbox values (1, 1, 'alert/no', 1, 'file', 't', 'w', 1, '', '')")),
    "a delivery of no message": ("L3", lambda db: db.execute("insert into deliveries values (1, 1, 77, 1, 1, 'sent', '', 1, 'p', 'h')")),
}


@pytest.mark.parametrize("name", list(LIES))
def test_a_lie_in_rows_that_are_sealed_again_is_found_by_its_invariant(copy, name):
    letter, edit = LIES[name]
    reseal(copy.path, edit)
    assert copy.verify() == [], "the chain itself must be sound, or the test proves nothing"
    faults = verify(copy)
    assert any(f.startswith(letter) for f in faults), faults[:3]


@pytest.mark.parametrize("table", ["fills", "cash", "equity", "decisions", "orders"])
def test_rows_cut_off_at_the_end_are_missed(copy, table):
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as db:
        triggers = [r[0] for r in db.execute("select sql from sqlite_master where type = 'trigger'")]
        names = [r[0] for r in db.execute("select name from sqlite_master where type = 'trigger'")]
        for n in names:
            db.execute(f"drop trigger {n}")
        db.execute(f"delete from {table} where id > (select max(id) - 3 from {table})")
        for sql in triggers:
            db.execute(sql)
    assert any(f.startswith(f"{table}: rows that were written are missing") for f in copy.verify())


def test_backup_and_restore_give_the_same_ledger_and_keep_the_old_one(told, copy, tmp_path):
    made = backup(copy, tmp_path / "b.zip")
    assert made["rows"]["fills"] == len(told.ledger.rows("fills"))
    (tmp_path / "other").mkdir()
    fresh = Ledger(tmp_path / "other" / "ledger.sqlite")
    with fresh.transaction(1) as change:
        change.add("audit", {"at_ms": 1, "kind": "before", "words": "", "content": "{}"})
    back = restore(fresh, tmp_path / "b.zip", 7)
    assert list(fresh.canonical()) == list(told.ledger.canonical()) and verify(fresh) == []
    assert fresh.rows("audit")[-1]["kind"] == "restored" and (fresh.path.parent / back["aside"] / "ledger.sqlite").exists()


@pytest.mark.parametrize(("spoil", "error", "words"), [
    (lambda p: p.write_bytes(b"not a zip"), InputError, "cannot be read as a backup"),
    (lambda p: p.unlink(), InputError, "cannot be read as a backup"),
    (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), InputError, "cannot be read as a backup")])
def test_a_file_that_is_no_backup_changes_nothing(copy, tmp_path, spoil, error, words):
    backup(copy, tmp_path / "b.zip")
    spoil(tmp_path / "b.zip")
    before = list(copy.canonical())
    with pytest.raises(error, match=words):
        restore(copy, tmp_path / "b.zip", 7)
    assert list(copy.canonical()) == before


def test_an_unsound_backup_is_refused(copy, tmp_path):
    reseal(copy.path, LIES["balance"][1])
    backup(copy, tmp_path / "b.zip")
    with pytest.raises(DamagedState, match="not sound: L1"):
        restore(copy, tmp_path / "b.zip", 7)


def test_an_export_quotes_what_a_spreadsheet_would_run(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction(1) as change:
        change.add("audit", {"at_ms": 1, "kind": "k", "words": "=1+1", "content": "-5"})
    text = export(ledger, "audit")
    assert "'=1+1" in text and ",-5," in text
    with pytest.raises(InputError, match="expected a table"):
        export(ledger, "sqlite_master")
