"""The HTTP face: the command's own objects, errors that teach, nothing changed without the token, and no request that breaks it."""

from __future__ import annotations

import json
import random
import string

import pytest
from starlette.testclient import TestClient

from core.faces.api import build_api, said
from core.paper.window import Terms
from core.settings import Settings
from core.wiring import build
from data.clock import FixedClock, parse_time

NOW = parse_time("2026-11-20T08:30:00Z")
TOKEN = "the-token"
HERE = "http://127.0.0.1"
FUZZED = 500  # ten thousand in the long command


@pytest.fixture(scope="module")
def sextant(tmp_path_factory):
    found = build(Settings(home=tmp_path_factory.mktemp("api"), world="simulated", network="off", api_token=TOKEN), FixedClock(NOW))
    found.paper_open(Terms(("BTCUSDT",), "ema_cross", {}, {"interval": "1h"}))
    return found


@pytest.fixture(scope="module")
def client(sextant):
    return TestClient(build_api(sextant), base_url=HERE, raise_server_exceptions=False)


SAME = [("/price/BTCUSDT", "price", ["BTCUSDT"]), ("/signal/ETHUSDT?strategy=ema_cross", "signal", ["ETHUSDT", "--strategy=ema_cross"]),
        ("/gaps/BTCUSDT?interval=4h", "gaps", ["BTCUSDT", "--interval=4h"]), ("/paper-trades", "trades", []),
        ("/paper", "paper", ["status"]),
        ("/verify", "verify", []), ("/models", "models", []), ("/predictions", "predictions", []), ("/jobs", "job", []),
        ("/alerts", "alerts", ["list"]), ("/trend/BTCUSDT?interval=4h", "trend", ["BTCUSDT", "--interval=4h"]),
        ("/t/BTCUSDT?interval=4h", "trend", ["BTCUSDT", "--interval=4h"]), ("/regime/BTCUSDT", "rg", ["BTCUSDT"]),
        ("/risk/BTCUSDT", "risk", ["BTCUSDT"]),
        ("/candles/BTCUSDT?start=2026-11-19&end=2026-11-20", "candles", ["BTCUSDT", "--start=2026-11-19", "--end=2026-11-20"]),
        ("/composite/data_confidence?symbol=BTCUSDT", "composite", ["data_confidence", "BTCUSDT"])]


@pytest.mark.parametrize(("route", "word", "arguments"), SAME, ids=[s[0].split("?")[0] for s in SAME])
def test_a_route_answers_with_the_object_of_its_command(client, sextant, route, word, arguments):
    answer = client.get(route)
    assert answer.status_code == 200, answer.text
    assert answer.json() == json.loads(json.dumps(said(sextant, word, arguments)))


def test_every_module_and_alias_has_a_route(client, sextant):
    paths = set(client.get("/openapi.json").json()["paths"])
    for module in sextant.modules:
        for word in module.commands:
            assert f"/{word}/{{symbol}}" in paths or f"/{word}" in paths, word
    assert {"/price/{symbol}", "/signal/{symbol}", "/train", "/metrics", "/paper-trades", "/composite/{name}"} <= paths


@pytest.mark.parametrize(("route", "status", "words"), [
    ("/price/NOSUCHUSDT", 404, "no data for NOSUCHUSDT"), ("/price/BTCUST", 404, "did you mean BTCUSDT"),
    ("/signal/BTCUSDT?interval=7x", 400, "interval"), ("/signal/BTCUSDT?interval=7m", 400, "expected an interval"),
    ("/signal/BTCUSDT?strategy=trnd", 400, "did you mean trend"), ("/signal/BTCUSDT?market=futures", 400, "market"),
    ("/composite/trend_strenth?symbol=BTCUSDT", 400, "did you mean trend_strength"), ("/composite/trend_strength", 400, "symbol"),
    ("/nothing", 404, "no such route"), ("/metrics?run=zz", 400, "run"), ("/metrics", 400, "no backtest is stored yet"),
    ("/candles/BTCUSDT?start=yesterday&end=2026-11-20", 400, "ISO 8601"), ("/price/%3Cscript%3E", 400, "symbol")])
def test_a_wrong_request_is_told_what_was_expected(client, route, status, words):
    answer = client.get(route)
    assert answer.status_code == status and words in answer.json()["error"], answer.text


def test_without_the_token_nothing_changes(client, sextant):
    def state():
        return (len(sextant.jobs.all()), len(sextant.paper_ledger.rows("controls")), sextant.paper_ledger.heads())

    before = state()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN + "x"}, {"Authorization": "Bearer "}):
        for path in ("/train", "/paper/kill", "/paper/close?symbol=BTCUSDT", "/jobs/1/cancel"):
            answer = client.post(path, json={"symbols": ["BTCUSDT"]}, headers=headers)
            assert answer.status_code == 403 and "token" in answer.json()["error"].lower() and TOKEN not in answer.text
            assert "***" not in answer.text, "what is masked teaches nobody"
    assert state() == before


def test_with_the_token_it_does(client, sextant, monkeypatch):
    monkeypatch.setattr(type(sextant.jobs), "pump", lambda self: [])  # no child process here
    headers = {"Authorization": f"Bearer {TOKEN}"}
    made = client.post("/train", json={"symbols": ["BTCUSDT"], "label": "dir3_dyn", "bars": 3000}, headers=headers)
    assert made.status_code == 202 and made.json()["kind"] == "train"
    assert client.post("/train", json={"symbols": ["BTCUSDT"], "label": "nolabel"}, headers=headers).status_code == 400
    assert client.post("/train", json={"symbols": []}, headers=headers).status_code == 400
    assert client.post("/train", json=[1, 2], headers=headers).status_code == 400
    assert client.post("/train", content=b"{" * 70_000, headers=headers).status_code == 413
    assert client.post("/train", content=(b"{" for _ in range(3)), headers=headers).status_code == 411  # of unknown length
    for length in ("\xb2", "-1", "1e3", "9" * 30):
        answer = client.request("POST", "/train", headers=[(k.encode(), v.encode("latin-1")) for k, v in
                                                           (headers | {"content-length": length}).items()])
        assert answer.status_code in (400, 413) and "error" in answer.json()
    assert client.post("/paper/pause", headers=headers).json()["kind"] == "pause"
    assert "this account trades" in client.post("/paper/close", headers=headers).json()["error"]
    assert client.post(f"/jobs/{made.json()['id']}/cancel", headers=headers).status_code == 200


def test_another_host_name_is_refused(client):
    assert client.get("/price/BTCUSDT", headers={"host": "evil.example"}).status_code == 400


def test_without_a_token_in_the_settings_nobody_may_change_anything(tmp_path):
    bare = build(Settings(home=tmp_path, world="simulated", network="off"), FixedClock(NOW))
    answer = TestClient(build_api(bare), base_url=HERE).post("/paper/kill", headers={"Authorization": "Bearer "})
    assert answer.status_code == 403 and "SEXTANT_API_TOKEN" in answer.json()["error"]


def fuzzed(client, seed, count):
    """Requests made from the OpenAPI document with values of every wrong shape; returns those answered 5xx."""
    stream, document = random.Random(seed), client.get("/openapi.json").json()
    routes = [(method, path) for path, methods in document["paths"].items() for method in methods]
    words = ["BTCUSDT", "1h", "spot", "", "0", "-1", "1e999", "NaN", "null", "trend", "../../etc/passwd", "%00", "a" * 3_000, "<b>",
             "'; drop", "ü€𐍈", "2026-11-19", "--help", "-h", "--json", "--out=/tmp/x", "=1+1", "\u202e", "true", "[]", "{}"]
    bodies = [b"", b"{}", b"[]", b"null", b'{"symbols": 7}', b'{"symbols": ["BTCUSDT", 7]}', b'{"symbols": ["BTCUSDT"], "bars": "x"}',
              b"\xff\xfe", b'{"symbols": [' + b'"A1",' * 200 + b'"A1"]}', b'{"symbols": ["BTCUSDT"], "label": {"a": 1}}', b"{" * 500]
    bad = []
    for number in range(count):
        method, path = stream.choice(routes)
        while "{" in path:
            head, _, rest = path.partition("{")
            path = head + _quoted(stream.choice(words)) + rest.partition("}")[2]
        names = ["interval", "market", "at", "strategy", "symbol", "symbols", "method", "start", "end", "run",
                 "".join(stream.choices(string.ascii_letters, k=5))]
        query = "&".join(f"{n}={_quoted(stream.choice(words))}" for n in stream.sample(names, stream.randint(0, 4)))
        headers = {"Authorization": f"Bearer {stream.choice(['', 'x', 'wrong'])}"} if stream.random() < 0.7 else {}
        answer = client.request(method.upper(), f"{path or '/'}?{query}", content=stream.choice(bodies) if method == "post" else None,
                                headers=headers)
        if answer.status_code >= 500 or "Traceback" in answer.text:
            bad.append((number, method, path, query, answer.status_code, answer.text[:200]))
    return bad


def _quoted(text):
    from urllib.parse import quote

    return quote(text, safe="")


def test_no_request_breaks_it(client, sextant, seed):
    before = (len(sextant.paper_ledger.rows("controls")), len(sextant.jobs.all()))
    assert fuzzed(client, seed, FUZZED) == []
    assert (len(sextant.paper_ledger.rows("controls")), len(sextant.jobs.all())) == before


@pytest.mark.long
def test_ten_thousand_requests_break_nothing(client, seed):
    assert fuzzed(client, seed + 1, 10_000) == []
