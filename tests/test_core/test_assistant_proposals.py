"""Proposals are done once, by a click, while fresh; conversations are kept and deleted, the log of calls stays."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest
from loguru import logger

from core.assistant import slash
from core.assistant.conversations import Conversations
from core.assistant.proposals import LIFE_MS, MOST_OPEN, Proposals
from core.assistant.tools import tool
from data.clock import FixedClock
from data.errors import DamagedState, DataError, InputError
from tests.assistant_world import NOW, asked, assistant
from tests.openai_stub import Turn, answered, model_server


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "c.sqlite").mkdir()
    with pytest.raises(DataError, match="cannot be read or written"):
        Conversations(tmp_path / "c.sqlite", FixedClock(NOW), "simulated").begin("x")


@pytest.fixture
def this(tmp_path):
    """An assistant whose jobs and settings are its own."""
    from core.jobs import Jobs

    made = assistant(tmp_path / "home")
    made.sextant.jobs = Jobs(tmp_path / "home", made.sextant.clock)
    made.sextant.jobs.pump = list
    return made


def proposed(this, name="propose_backtest", **arguments):
    """A proposal made through a tool, and its conversation."""
    number = this.conversations.begin("x")
    desk = this.desk(this.sextant.key("BTCUSDT", "1h"), conversation=number, may_propose=True)
    given = {"rule": "trend"} if name == "propose_backtest" and not arguments else arguments
    found = tool(name).run(desk, tool(name).checked(this.sextant, json.dumps(given)))
    return found.proposal, number


def test_a_confirmed_proposal_is_done_once(this):
    number, conversation = proposed(this)
    assert not this.sextant.jobs.all()
    assert "Job 1 is in the queue" in this.proposals.confirm(this.sextant, number, conversation)
    with pytest.raises(InputError, match="decided on already: done"):
        this.proposals.confirm(this.sextant, number, conversation)
    [job] = this.sextant.jobs.all()
    assert (job.kind, job.arguments["symbols"], job.arguments["rule"]) == ("backtest", ["BTCUSDT"], "trend")


def test_fifty_clicks_at_once_are_one(this):
    number, conversation = proposed(this)
    done, refused = [], []

    def click():
        try:
            done.append(this.proposals.confirm(this.sextant, number, conversation))
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=click) for _ in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (len(done), len(refused), len(this.sextant.jobs.all())) == (1, 49, 1)


def test_expired_forged_strange_and_refused_ones_do_nothing(this):
    number, conversation = proposed(this)
    late = Proposals(this.conversations, FixedClock(NOW + LIFE_MS), "simulated")
    assert late.get(number).state == "expired"
    with pytest.raises(InputError, match="older than 10 minutes"):
        late.confirm(this.sextant, number, conversation)
    for forged in ("", "1", "../../x", "' or 1=1 --", number[:-1], number.swapcase(), "x" * 5000):
        with pytest.raises(InputError, match="no such proposal"):
            this.proposals.confirm(this.sextant, forged, conversation)
    with pytest.raises(InputError, match="another conversation"):
        this.proposals.confirm(this.sextant, number, conversation + 1)
    with pytest.raises(InputError, match="no such proposal"):
        Proposals(this.conversations, this.sextant.clock, "real").confirm(this.sextant, number, conversation)
    this.proposals.refuse(number, conversation)
    with pytest.raises(InputError, match="decided on already: refused"):
        this.proposals.confirm(this.sextant, number, conversation)
    assert not this.sextant.jobs.all()


def test_a_model_cannot_flood_the_user_with_cards(this):
    calls = tuple(("propose_backtest", {"rule": "trend"}) for _ in range(8))
    number = this.conversations.begin("x")
    with model_server(lambda r: Turn(text="There.") if answered(r) else Turn(calls=calls)) as model:
        other = assistant(this.sextant.settings.home, model.url)
        told = asked(other, "Backtest everything", conversation=number)
    assert sum(bool(s.found) for s in told.steps) == MOST_OPEN
    assert "wait already" in told.steps[-1].outcome


def test_the_watchlist_changes_by_a_click_alone(this):
    before = this.sextant.settings.watchlist
    number, conversation = proposed(this, "propose_watchlist", change="remove", symbol="TRXUSDT")
    assert this.sextant.settings.watchlist == before
    this.proposals.confirm(this.sextant, number, conversation)
    assert "TRXUSDT" not in this.sextant.settings.watchlist
    again, conversation = proposed(this, "propose_watchlist", change="add", symbol="TRXUSDT")
    this.proposals.confirm(this.sextant, again, conversation)
    assert set(this.sextant.settings.watchlist) == set(before)
    with pytest.raises(InputError, match="on the watchlist already"):
        proposed(this, "propose_watchlist", change="add", symbol="TRXUSDT")


def test_an_order_is_checked_again_at_the_click(this):
    from core.backtest.asking import ask
    from core.paper.window import Terms

    with pytest.raises(InputError, match="no paper account"):
        proposed(this, "propose_order", side="long", stop=1.0)
    question = ask(["BTCUSDT"], {"interval": "1h"}, rule="by_hand")
    assert question is not None
    this.sextant.paper_open(Terms(symbols=("BTCUSDT",), rule="by_hand", parameters={}, options={"interval": "1h", "market": "spot"}))
    account = this.sextant.broker.account()
    price = this.sextant.paper_price("BTCUSDT", account)
    with pytest.raises(InputError, match="below"):
        proposed(this, "propose_order", side="long", stop=price * 1.1, symbol="BTCUSDT")
    number, conversation = proposed(this, "propose_order", side="long", stop=round(price * 0.95, 2), symbol="BTCUSDT")
    assert not this.sextant.paper_ledger.rows("controls")
    words = this.proposals.get(number).words
    assert words.startswith("Buy BTCUSDT at the next open") and "no real order" in words
    this.proposals.confirm(this.sextant, number, conversation)
    [row] = this.sextant.paper_ledger.rows("controls")
    assert (row["kind"], row["symbol"], row["key"]) == ("place", "BTCUSDT", f"assistant-{number}")
    moved, conversation = proposed(this, "propose_order", side="long", stop=round(price * 0.95, 2), symbol="BTCUSDT")
    this.sextant.paper_price = lambda symbol, account: price * 1.05
    with pytest.raises(InputError, match="moved from"):
        this.proposals.confirm(this.sextant, moved, conversation)
    assert this.proposals.get(moved).state == "failed"
    assert len(this.sextant.paper_ledger.rows("controls")) == 1


def test_conversations_are_kept_apart_by_world_and_can_be_deleted(tmp_path):
    path, clock = tmp_path / "a" / "c.sqlite", FixedClock(NOW)
    kept, real = Conversations(path, clock, "simulated"), Conversations(path, clock, "real")
    number = kept.begin("What <b>now</b>?")
    kept.add(number, "user", {"text": "What now?"})
    kept.log(number, "scores", "{}", "3 rows", 5)
    assert [c.title for c in kept.all()] == ["What <b>now</b>?"] and not real.all()
    assert not real.messages(number)
    with pytest.raises(InputError, match="no conversation"):
        real.add(number, "user", {"text": "x"})
    kept.delete(number)
    assert not kept.all() and not kept.messages(number)
    assert [c["what"] for c in kept.calls()] == ["scores"], "the log stays"
    with pytest.raises(sqlite3.IntegrityError, match="never removed"), kept.writing() as db:
        db.execute("delete from calls")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"this is no database at all" * 400)
    with pytest.raises(DamagedState, match="move the file aside"):
        Conversations(path, FixedClock(NOW), "simulated").all()


@pytest.mark.parametrize("spoilt", ["{", "[1, 2]", "null", "[" * 100_000], ids=["cut", "a list", "nothing", "deep"])
def test_a_damaged_message_is_said_in_its_place_and_no_model_reads_it(this, spoilt):
    number = this.conversations.begin("x")
    first, second = (this.conversations.add(number, role, {"text": f"from {role}"}) for role in ("user", "assistant"))
    with this.conversations.writing() as db:
        db.execute("update messages set content = ? where id = ?", (spoilt, first))
    lines = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    try:
        for _ in range(2):
            damaged, whole = this.conversations.messages(number)
    finally:
        logger.remove(sink)
    assert "2026-11-20T16:00:00Z is damaged" in damaged.content["notices"][0]["words"] and damaged.id == first
    assert whole.id == second and this.history(number) == [{"role": "assistant", "content": "from assistant"}]
    assert len(lines) == 1 and f"message {first} of conversations.sqlite" in lines[0]


def test_slash_commands_propose_for_an_owner(this):
    number = this.conversations.begin("x")
    desk = this.desk(this.sextant.key("BTCUSDT", "1h"), conversation=number, may_propose=True)
    assert this.proposals.get(slash.run("/backtest ETH ema_cross",
                                        desk).proposal).words.startswith("Backtest the rule ema_cross on ETHUSDT")
    assert this.proposals.get(slash.run("/train", desk).proposal).kind == "job"
