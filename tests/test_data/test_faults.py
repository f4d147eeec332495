"""The fault script: read with errors that teach, drawn from a seed, and each kind visible to a client."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import urllib.error
import urllib.request

import pytest
import websockets

from data.clock import parse_time
from data.errors import InputError
from data.market import HOUR_MS, MINUTE_MS
from data.simulator.faults import (
    CONNECTION_KINDS,
    KINDS,
    MESSAGE_KINDS,
    REST_KINDS,
    Fault,
    FaultKind,
    load_script,
    outage,
    parse_script,
    random_script,
    script_document,
)
from data.simulator.venue import VenueOptions
from data.simulator.venue_clock import VirtualClock
from data.simulator.venue_hosts import STREAM_HOSTS, Host
from data.simulator.venue_thread import running_venue
from tests.venue_listener import Listener

START = parse_time("2026-11-20T08:30:00Z")
F = FaultKind
TIME, KLINES = "/api/v3/time", "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5"


# -- the script -------------------------------------------------------------------------------------------------------


def entry(**fields):
    return {"format": "sextant-faults-1", "faults": [{"kind": "cut", "at": "2026-11-20T08:31:00Z"} | fields]}


@pytest.mark.parametrize(("document", "message"), [
    ([], "sextant-faults-1"),
    (entry(kind="cutt"), "did you mean cut"),
    (entry(kind=418), "expected a kind of 403"),
    (entry(strem="btcusdt@trade"), "did you mean stream"),
    (entry(at="tomorrow"), "write ISO 8601"),
    (entry(at=True), "at must be a whole number"),
    (entry(duration_ms=-1), "duration_ms must be 0 or more"),
    (entry(count="two"), "count must be a whole number"),
    (entry(host="fabi"), "did you mean fapi"),
    (entry(host=5), "host must be text"),
    (entry(path="/api/v3/klines"), "name a stream"),
    (entry(kind="429", stream="btcusdt@trade"), "name a path"),
    (entry(kind="gap"), "gap needs duration_ms"),
    (entry(kind="gap", duration_ms=60_000, host="api"), "has no host"),
    (entry(kind="delay", value=-5), "value must be 0 or more"),
    ({"format": "sextant-faults-1", "faults": [{"kind": "cut"}]}, 'needs "at"'),
    ({"format": "sextant-faults-1", "faults": ["cut"]}, "expected an object"),
])
def test_a_wrong_script_is_refused_with_what_would_be_right(document, message):
    with pytest.raises(InputError, match=message):
        parse_script(document)


def test_a_script_survives_its_file(tmp_path):
    script = random_script(3, 200, START, START + HOUR_MS)
    file = tmp_path / "faults.json"
    file.write_text(json.dumps(script_document(script)))
    assert load_script(file) == script
    file.write_text("{half")
    with pytest.raises(InputError, match=r"cannot read a fault script from faults\.json"):
        load_script(file)


def test_a_drawn_script_is_the_seeds_own_and_holds_every_kind():
    script = random_script(1, 500, START, START + 24 * HOUR_MS)
    assert script == random_script(1, 500, START, START + 24 * HOUR_MS) != random_script(2, 500, START, START + 24 * HOUR_MS)
    assert len(script) == 500 and {f.kind for f in script} == set(FaultKind) - {F.GAP}
    assert [f.at_ms for f in script] == sorted(f.at_ms for f in script)
    for fault in script:
        if fault.kind in REST_KINDS | MESSAGE_KINDS | CONNECTION_KINDS:
            assert (Host(fault.host) in STREAM_HOSTS) == (fault.kind not in REST_KINDS)


def test_there_are_more_than_twenty_four_kinds_and_each_is_explained():
    assert set(KINDS) == set(FaultKind) and len(KINDS) >= 24 and all(len(f.meaning) > 5 for f in KINDS.values())


# -- at work ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def venue():
    with running_venue(VirtualClock(START), VenueOptions(seed=7)) as handle:
        yield handle


@pytest.fixture(autouse=True)
def clean_board(request):
    if "venue" in request.fixturenames:
        handle = request.getfixturevalue("venue")
        handle.venue.faults.script, handle.venue.faults.struck = (), []
        handle.venue.faults._uses.clear()
        handle.advance(-handle.venue.clock.now_ms() % MINUTE_MS)


def now(venue):
    return venue.venue.clock.now_ms()


def arm(venue, kind, **fields):
    fault = Fault(kind, fields.pop("at_ms", now(venue)), **fields)
    venue.venue.faults.add([fault])
    return fault


def struck(venue):
    return [kind for _, kind, _ in venue.venue.faults.struck]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments, **named):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def get(venue, path, base=None):
    """(status, body, headers); status 0 for a connection that died."""
    try:
        with OPENER.open((base or venue.urls.api) + path, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers
    except http.client.IncompleteRead as error:
        return 0, error.partial, {}
    except (OSError, http.client.HTTPException):
        return 0, b"", {}


@pytest.mark.parametrize("kind", sorted(REST_KINDS))
def test_each_kind_of_broken_answer_is_visible_once_and_gone(venue, kind):
    quick = {F.HANG: 100, F.SLOW: 200}
    _, good, _ = get(venue, KLINES)
    arm(venue, kind, host="api", path="/api/v3/klines*", value=quick.get(kind))
    assert get(venue, TIME)[0] == 200, "another path is not meant"
    assert get(venue, KLINES, venue.urls.mirror)[1] == good, "another host is not meant"
    began = time.perf_counter()
    status, body, headers = get(venue, KLINES)
    expected = {F.HTML: 200, F.REDIRECT: 302, F.EMPTY: 200, F.TRUNCATED: 0, F.MALFORMED_JSON: 200, F.WRONG_SHAPE: 200, F.HANG: 0,
                F.SLOW: 200, F.RESET: 0, F.STALE: 200}
    assert status == (expected[kind] if kind in expected else int(kind))
    if kind in (F.HTTP_429, F.HTTP_418):
        assert headers["Retry-After"] == str(KINDS[kind].value) and json.loads(body)["code"] == -1003
    elif kind in (F.HTTP_403, F.HTTP_502, F.HTML):
        assert b"<html>" in body
    elif kind in (F.HTTP_500, F.HTTP_503, F.HTTP_504, F.HTTP_451):
        assert json.loads(body)["code"] in (-1000, -1008, -1007, 0)
    elif kind is F.REDIRECT:
        assert headers["Location"].startswith(venue.urls.archive)
    elif kind is F.MALFORMED_JSON:
        assert good.startswith(body) and len(body) == len(good) // 2
    elif kind is F.TRUNCATED:
        assert good.startswith(body)
    elif kind is F.WRONG_SHAPE:
        assert json.loads(body) == {"unexpected": True}
    elif kind is F.STALE:
        assert json.loads(body)[-1][0] == json.loads(good)[-1][0] - 2 * MINUTE_MS
    elif kind in (F.SLOW, F.HANG):
        assert time.perf_counter() - began >= 0.1
    assert get(venue, KLINES)[1] == good and struck(venue) == [kind]


async def heard(venue, kind, *, stream="btcusdt@kline_1m", minutes=4, **fields):
    """Frames of a minute-by-minute stream during which a fault of a kind is armed from the second minute on."""
    async with Listener(venue, f"{venue.urls.stream}/ws/{stream}") as ear:
        frames = await ear.advance(MINUTE_MS)
        arm(venue, kind, host="stream", at_ms=now(venue) + 1, **fields)
        for _ in range(minutes - 1):
            frames += await ear.advance(MINUTE_MS)
        return frames, ear.closed.is_set(), ear.socket.close_code


def opens(frames):
    return [(f["k"]["t"] - START) // MINUTE_MS for f in frames if isinstance(f, dict) and isinstance(f.get("k"), dict) and f["k"]["x"]]


@pytest.mark.parametrize("kind", sorted(MESSAGE_KINDS))
async def test_each_kind_of_broken_message_is_visible(venue, kind):
    first = (now(venue) - START) // MINUTE_MS
    frames, closed, _ = await heard(venue, kind, value={F.DELAY: 150_000, F.BURST: 5}.get(kind))
    relative = [minute - first for minute in opens(frames)]
    assert not closed and struck(venue) == [kind]
    if kind in (F.DROP, F.MALFORM, F.WRONG_TYPE, F.BINARY):
        assert relative == [0, 2, 3]
        spoilt = [f for f in frames if not (isinstance(f, dict) and isinstance(f["k"], dict))]
        assert {F.DROP: [], F.MALFORM: [str], F.WRONG_TYPE: [dict], F.BINARY: [bytes]}[kind] == [type(f) for f in spoilt]
    else:
        assert relative == {F.DUPLICATE: [0, 1, 1, 2, 3], F.BURST: [0, 1, 1, 1, 1, 1, 2, 3], F.REORDER: [0, 2, 1, 3],
                            F.DELAY: [0, 2, 3]}[kind]


async def test_a_delayed_message_arrives_in_the_end(venue):
    first = (now(venue) - START) // MINUTE_MS
    frames, *_ = await heard(venue, F.DELAY, minutes=5, value=90_000)
    assert [m - first for m in opens(frames)] == [0, 2, 3, 1, 4] or [m - first for m in opens(frames)] == [0, 2, 1, 3, 4]


@pytest.mark.parametrize(("kind", "code"), [(F.CUT, 1006), (F.CLOSE, 1001), (F.SHUTDOWN, 1001)])
async def test_each_kind_of_ending_is_visible(venue, kind, code):
    frames, closed, got = await heard(venue, kind)
    assert closed and got == code and len(opens(frames)) == 1 and struck(venue) == [kind]
    assert (frames[-1].get("e") == "serverShutdown") == (kind is F.SHUTDOWN)


async def test_silence_lasts_for_connections_that_were_open_only(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as old:
        arm(venue, F.SILENCE, host="stream", at_ms=now(venue) + 1)
        assert await old.advance(3 * MINUTE_MS) == [] and not old.closed.is_set()
        async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as new:
            assert len(opens(await new.advance(2 * MINUTE_MS))) == 2
        assert not old.closed.is_set() and not old.frames


async def test_one_stream_falls_silent_while_its_neighbours_speak(venue):
    async with Listener(venue, f"{venue.urls.stream}/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m") as ear:
        arm(venue, F.SILENT_STREAM, stream="btcusdt@*", at_ms=now(venue) + 1)
        assert {f["stream"] for f in await ear.advance(2 * MINUTE_MS)} == {"ethusdt@kline_1m"}


async def test_an_upgrade_can_be_refused(venue):
    for kind, value, status in ((F.REFUSE, 503, 503), (F.HTTP_451, None, 451)):
        arm(venue, kind, host="stream", value=value)
        with pytest.raises(websockets.InvalidStatus) as error:
            await websockets.connect(venue.urls.stream + "/ws/btcusdt@trade", proxy=None)
        assert error.value.response.status_code == status
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        assert await ear.advance(MINUTE_MS)


async def test_pings_can_stop():
    with running_venue(VirtualClock(START), VenueOptions(seed=7, ping_s=0.02)) as handle:
        handle.venue.faults.add([Fault(F.NO_PING, START, duration_ms=HOUR_MS)])
        async with Listener(handle, f"{handle.urls.stream}/ws/btcusdt@trade") as ear:
            await asyncio.sleep(0.15)
            assert not ear.closed.is_set() and set(struck(handle)) == {F.NO_PING}


async def test_a_gap_is_a_hole_for_ever_on_stream_and_rest(venue):
    first = (now(venue) - START) // MINUTE_MS
    arm(venue, F.GAP, symbol="BTCUSDT", at_ms=now(venue) + MINUTE_MS, duration_ms=2 * MINUTE_MS)
    async with Listener(venue, f"{venue.urls.stream}/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m") as ear:
        frames = await ear.advance(5 * MINUTE_MS)
    by = {s: [m - first for m in opens([f["data"] for f in frames if f["stream"].startswith(s)])] for s in ("btc", "eth")}
    assert by == {"btc": [0, 3, 4], "eth": [0, 1, 2, 3, 4]}
    rows = json.loads(get(venue, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={START + first * MINUTE_MS}")[1])
    assert [(r[0] - START) // MINUTE_MS - first for r in rows] == [0, 3, 4, 5]


async def test_a_late_candle_is_late_on_stream_and_rest(venue):
    first = (now(venue) - START) // MINUTE_MS
    arm(venue, F.LATE_CANDLE, symbol="BTCUSDT", at_ms=now(venue) + 1, duration_ms=MINUTE_MS + 1, value=20_000)
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        assert opens(await ear.advance(MINUTE_MS + 10_000)) == []
        rows = json.loads(get(venue, KLINES)[1])
        assert first not in [(r[0] - START) // MINUTE_MS for r in rows]
        assert [m - first for m in opens(await ear.advance(15_000))] == [0]
        rows = json.loads(get(venue, KLINES)[1])
        assert first in [(r[0] - START) // MINUTE_MS for r in rows]


async def test_a_skewed_clock_shows_in_time_and_events(venue):
    arm(venue, F.SKEW, duration_ms=10 * MINUTE_MS, value=-3_600_000)
    assert json.loads(get(venue, TIME)[1])["serverTime"] == now(venue) - HOUR_MS
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        told = (await ear.advance(MINUTE_MS))[-1]
    assert told["E"] == now(venue) - HOUR_MS and told["k"]["T"] == now(venue) - 1


def test_faults_can_be_armed_and_counted_over_http(venue):
    document = script_document([Fault(F.HTTP_503, now(venue), host="api", count=2)])
    request = urllib.request.Request(venue.urls.fapi + "/sim/faults", data=json.dumps(document).encode(), method="POST")
    assert json.loads(urllib.request.urlopen(request, timeout=10).read())["armed"] == 1
    assert [get(venue, TIME)[0] for _ in range(3)] == [503, 503, 200]
    assert len(json.loads(get(venue, "/sim/faults")[1])["struck"]) == 2
    bad = urllib.request.Request(venue.urls.api + "/sim/faults", data=json.dumps(entry(kind="cutt")).encode(), method="POST")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(bad, timeout=10)
    assert "did you mean cut" in json.loads(error.value.read())["msg"]


async def test_five_hundred_faults_do_not_break_the_venue(venue):
    """A client that only reconnects: the venue must go on answering, and afterwards tell everything."""
    start = now(venue)
    venue.venue.faults.add(random_script(11, 500, start, start + 6 * HOUR_MS, hosts=(Host.API, Host.STREAM)))
    while now(venue) < start + 6 * HOUR_MS:
        async with Listener(venue, f"{venue.urls.stream}/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m") if not any(
                f.kind is F.REFUSE and f.armed(now(venue)) for f in venue.venue.faults.script) else _nothing(venue) as ear:
            while not ear.closed.is_set() and now(venue) < start + 6 * HOUR_MS:
                await ear.advance(7 * MINUTE_MS)
                await asyncio.to_thread(get, venue, TIME)
    assert len(set(struck(venue))) >= 24
    venue.venue.faults.script = ()
    rows = json.loads(get(venue, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000")[1])
    assert [r[0] for r in rows[:-1]] == list(range(start, start + 6 * HOUR_MS, MINUTE_MS))[: len(rows) - 1] and len(rows) > 359


class _nothing:  # noqa: N801  a client that was refused waits
    def __init__(self, venue):
        self.venue, self.closed = venue, asyncio.Event()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        return None

    async def advance(self, ms):
        await asyncio.to_thread(self.venue.advance, MINUTE_MS)
        self.closed.set()


async def test_an_outage_takes_hosts_away_and_gives_them_back(venue):
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        venue.venue.faults.add(outage(now(venue) + 1, 5 * MINUTE_MS, (Host.API, Host.STREAM)))
        await ear.advance(MINUTE_MS)
        await asyncio.wait_for(ear.closed.wait(), 10)
    assert get(venue, TIME)[0] == 0 and get(venue, TIME, venue.urls.mirror)[0] == 200
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(venue.urls.stream + "/ws/btcusdt@trade", proxy=None)
    venue.advance(5 * MINUTE_MS)
    assert get(venue, TIME)[0] == 200
    async with Listener(venue, f"{venue.urls.stream}/ws/btcusdt@kline_1m") as ear:
        assert await ear.advance(MINUTE_MS)
