"""Limits and bans: what is counted, what is waited for, and what a restart remembers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.clock import parse_time
from data.errors import Blocked, RateLimited
from data.market import DAY_MS, MINUTE_MS
from data.simulator.venue_clock import VirtualClock
from data.sources.budget import BLOCK_MS, Budget, Channel
from data.sources.endpoints import Endpoints
from data.sources.transport import Transport
from tests.stub_http import Reply, stub_server

NOON = parse_time("2026-11-20T12:00:10Z")
API = Channel("api", "Binance", "https://api.binance.com", 6000)


def test_weight_of_the_header_is_obeyed_until_the_next_minute():
    clock = VirtualClock(NOON)
    budget = Budget(None, clock)
    budget.admit(API, 2)
    budget.succeeded(API, {"x-mbx-used-weight-1m": "4799"}, 5.0)
    with pytest.raises(RateLimited, match=r"4799 of 6000 request weight is used .* goes out at 12:01:00 UTC") as caught:
        budget.admit(API, 2)
    assert caught.value.retry_at_ms == parse_time("2026-11-20T12:01:00Z")
    clock.advance(50_000)
    budget.admit(API, 2)
    assert budget.state(API).used_weight == 2


def test_requests_on_their_way_count_before_their_header_comes():
    budget = Budget(None, VirtualClock(NOON))
    for _ in range(2400):
        budget.admit(API, 2)
    with pytest.raises(RateLimited):
        budget.admit(API, 2)


def test_stated_limit_replaces_the_default():
    budget = Budget(None, VirtualClock(NOON))
    budget.learn_limit(API, 100)
    budget.admit(API, 80)
    with pytest.raises(RateLimited, match="of 100"):
        budget.admit(API, 1)


def test_own_limiters_of_futures_statistics_and_funding():
    clock = VirtualClock(NOON)
    budget = Budget(None, clock)
    fapi = Endpoints().channels()["fapi"]
    for _ in range(900):
        budget.admit(fapi, 0, "data")
    with pytest.raises(RateLimited, match="900 data requests in 300 s are allowed and used") as caught:
        budget.admit(fapi, 0, "data")
    assert caught.value.retry_at_ms == NOON + 300_001
    budget.admit(fapi, 0, "funding")  # the two are counted apart
    clock.advance(300_001)
    budget.admit(fapi, 0, "data")


@pytest.mark.parametrize(("status", "headers", "body", "wait_s"), [
    (429, {"retry-after": "37"}, "", 37), (429, {}, "", 60), (418, {}, "", 120), (418, {"retry-after": "7200"}, "", 7200),
    (429, {"retry-after": "soon"}, "", 60), (418, {"retry-after": "999999999"}, "", 3 * 86_400),
])
def test_how_long_a_limit_lasts(status, headers, body, wait_s):
    budget = Budget(None, VirtualClock(NOON))
    assert budget.limited(API, status, headers, body).retry_at_ms == NOON + wait_s * 1000


def test_ban_named_in_the_text_is_obeyed(recordings):
    text = (recordings / "responses/recorded/errors/http418_-1003_ip_banned.json").read_text()
    budget = Budget(None, VirtualClock(1_702_275_868_212))
    error = budget.limited(API, 418, {}, text)
    assert error.retry_at_ms == 1_702_275_878_212
    assert str(error) == "Binance asks us to wait until 06:25 UTC (2023-12-11)"


def test_ban_survives_a_restart_and_is_shared_with_another_process(tmp_path):
    clock = VirtualClock(NOON)
    first, second = Budget(tmp_path / "sources.json", clock), Budget(tmp_path / "sources.json", clock)
    first.limited(API, 429, {"retry-after": "420"}, "")
    for budget in (second, Budget(tmp_path / "sources.json", clock)):
        with pytest.raises(RateLimited, match="Binance asks us to wait until 12:08 UTC"):
            budget.admit(API)
    clock.advance(420_001)
    second.admit(API)
    Budget(tmp_path / "sources.json", clock).admit(API)


def test_block_lasts_half_an_hour_and_survives_a_restart(tmp_path):
    clock = VirtualClock(NOON)
    error = Budget(tmp_path / "sources.json", clock).refused(API, 451)
    assert str(error) == "Binance is not available from this server's country (api.binance.com); asked again at 12:30 UTC"
    again = Budget(tmp_path / "sources.json", clock)
    with pytest.raises(Blocked):
        again.admit(API)
    clock.advance(BLOCK_MS)
    again.admit(API)


def test_a_ban_that_another_process_wrote_meanwhile_is_not_written_over(tmp_path):
    """A request is on its way when another process learns of a ban; what its own answer teaches is added to that."""
    clock, futures = VirtualClock(NOON), Channel("fapi", "Binance", "https://fapi.binance.com", 2400)
    ours, theirs = Budget(tmp_path / "sources.json", clock), Budget(tmp_path / "sources.json", clock)
    ours.admit(API)
    theirs.limited(futures, 418, {"retry-after": "7200"}, "")
    ours.refused(API, 451)
    for budget in (ours, Budget(tmp_path / "sources.json", clock)):
        with pytest.raises(RateLimited):
            budget.admit(futures)
        with pytest.raises(Blocked):
            budget.admit(API)


def test_processes_that_learn_at_once_lose_nothing(tmp_path):
    """A second object in a thread is another writer to the file lock as another process is."""
    clock = VirtualClock(NOON)
    channels = [Channel(f"c{n}", "Vendor", f"https://{n}.example") for n in range(24)]
    budgets = [Budget(tmp_path / "sources.json", clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: budgets[n % 4].refused(channels[n], 403), range(len(channels))))
    after = Budget(tmp_path / "sources.json", clock)
    assert [after.state(channel).blocked_status for channel in channels] == [403] * len(channels)


def test_a_clock_that_is_set_back_does_not_prolong_a_block_or_a_window():
    clock, channel = VirtualClock(NOON + 5 * DAY_MS), Channel("x", "Vendor", "https://x.example", None, {"": (3, 60)})
    budget = Budget(None, clock)
    for _ in range(3):
        budget.admit(channel)
    budget.refused(API, 451)
    clock._now_ms -= 5 * DAY_MS
    budget.admit(channel)
    with pytest.raises(Blocked):  # from the first look on it counts anew
        budget.admit(API)
    clock.advance(BLOCK_MS)
    budget.admit(API)


@pytest.mark.parametrize("number", ["\u00b2", "\u0663", "9" * 5_000, "-5", "1e3"])
def test_a_header_that_holds_no_plain_number_is_left_alone(number):
    budget = Budget(None, VirtualClock(NOON))
    budget.succeeded(API, {"x-mbx-used-weight-1m": number}, 1.0)
    assert budget.state(API).used_weight == 0
    assert budget.limited(API, 429, {"retry-after": number}, "").retry_at_ms == NOON + MINUTE_MS


def test_success_of_a_request_sent_earlier_does_not_lift_a_ban():
    budget = Budget(None, VirtualClock(NOON))
    budget.limited(API, 429, {"retry-after": "60"}, "")
    budget.succeeded(API, {}, 1.0)
    with pytest.raises(RateLimited):
        budget.admit(API)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"channels": 5}', b'{"channels": {"a": ["x", 1, 2]}}',
                                     b'{"channels": {"a": [1]}}', b"\xff" * 40])
def test_damaged_ban_file_is_no_ban_and_no_crash(tmp_path, content):
    (tmp_path / "sources.json").write_bytes(content)
    Budget(tmp_path / "sources.json", VirtualClock(NOON)).admit(API)


def test_stored_time_of_a_clock_that_jumped_is_capped(tmp_path):
    far = NOON + 400 * DAY_MS
    (tmp_path / "sources.json").write_text(json.dumps({"channels": {API.key: [far, far, 451]}}))
    state = Budget(tmp_path / "sources.json", VirtualClock(NOON)).state(API)
    assert state.wait_until_ms <= NOON + 3 * DAY_MS
    assert state.blocked_until_ms <= NOON + BLOCK_MS


def test_ban_of_loopback_is_not_a_ban_of_the_exchange():
    budget = Budget(None, VirtualClock(NOON))
    budget.refused(Channel("api", "Binance", "http://127.0.0.1:8080"), 451)
    budget.admit(API)


def test_no_request_goes_out_during_a_ban(tmp_path):
    clock = VirtualClock(NOON)
    reply = Reply(b'{"code":-1003,"msg":"Too much request weight used"}', 429, (("retry-after", "30"),))
    with stub_server(reply) as stub:
        channel = Channel("api", "Binance", stub.url, 6000)
        for _ in range(3):  # each time as after a restart
            transport = Transport(Budget(tmp_path / "sources.json", clock), clock, sleep=lambda _s: None)
            with pytest.raises(RateLimited) as caught:
                transport.get(channel, "/api/v3/klines")
            transport.close()
        assert len(stub.seen) == 1
        assert caught.value.retry_at_ms == NOON + 30_000
        clock.advance(MINUTE_MS)
        with pytest.raises(RateLimited):
            Transport(Budget(tmp_path / "sources.json", clock), clock).get(channel, "/api/v3/klines")
        assert len(stub.seen) == 2
