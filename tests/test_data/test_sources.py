"""Laws for every source of the registry, and the folder and registry agree."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from data.clock import FixedClock, parse_time
from data.errors import BadPayload, NotOffered, SextantError
from data.market import DAY_MS, Interval, Market, SeriesKey, provenance_rank
from data.observations import Kind
from data.sources import registry
from data.sources.archive import Archive
from data.sources.base import Source
from data.sources.budget import Budget
from data.sources.endpoints import Endpoints
from data.sources.registry import SOURCES
from data.sources.transport import Transport
from tests.stub_http import Reply, stub_server

NOW = parse_time("2026-11-20T09:30:20Z")
CLOCK = FixedClock(NOW)
FOLDER = Path(registry.__file__).parent


def build(make: type[Source], **endpoints: str) -> Source:
    transport = Transport(Budget(None, CLOCK), CLOCK, sleep=lambda _s: None)
    return make(transport, Endpoints(**endpoints).channels()[make.channel_name], CLOCK)


def test_registry_holds_every_source_of_the_folder():
    found = {node.name for path in FOLDER.glob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id in ("Source", "SpotRest")
                                                       for base in node.bases)}
    assert found == {make.__name__ for make in SOURCES}
    assert len(SOURCES) == 11
    assert len({make.channel_name for make in SOURCES}) == len(SOURCES)


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
class TestLaws:
    def test_says_what_it_is(self, make):
        assert make.name and make.lacks and inspect.getdoc(make)
        assert make.candle_markets or make.provides
        provenance_rank(make.source_provenance)
        assert set(make.provides) <= set(Kind)

    def test_asks_only_its_own_host(self, make):
        with stub_server(Reply(b'{"code":-1121,"msg":"x"}', 400)) as stub:
            source = build(make, **{make.channel_name: stub.url})
            for kind in make.provides:
                with pytest.raises(SextantError):
                    source.observations(kind, "BTCUSDT", NOW - 40 * DAY_MS, NOW - 15 * DAY_MS, Market.PERP)
            assert stub.seen
            assert {method for method, _, _ in stub.seen} == {"GET"}

    def test_does_not_pretend_to_other_kinds(self, make):
        with stub_server(Reply(b"{}")) as stub:
            source = build(make, **{make.channel_name: stub.url})
            for kind in set(Kind) - set(make.provides):
                if make.channel_name in ("coinmetrics", "defillama", "alternativeme", "mempool", "blockchain"):
                    continue  # of one kind each: the ladder never asks them for another
                with pytest.raises(NotOffered):
                    source.observations(kind, "BTCUSDT", NOW - DAY_MS, NOW, Market.PERP)
            if not make.candle_markets:
                with pytest.raises(NotOffered):
                    source.windows(SeriesKey("BTCUSDT", Interval.H1), NOW - DAY_MS, NOW)
            assert stub.seen == []

    @pytest.mark.parametrize("body", [b"{}", b"[]", b"[[]]", b"null", b'"x"', b'{"data": 5}', b'[{"symbol": 1}]', b"7"])
    def test_other_shapes_are_errors_of_the_tree_or_nothing(self, make, body):
        with stub_server(Reply(body)) as stub:
            source = build(make, **{make.channel_name: stub.url})
            for kind in make.provides:
                try:
                    assert len(source.observations(kind, "BTCUSDT", NOW - DAY_MS, NOW, Market.PERP)) == 0
                    if make is Archive:
                        break  # all its kinds go the same way
                except SextantError as error:
                    assert "\n" not in str(error)
            for market in make.candle_markets:
                key = SeriesKey("BTCUSDT", Interval.H1, market)
                try:
                    source.first_open_ms(key, NOW - DAY_MS)
                    for window in source.windows(key, NOW - 3 * DAY_MS, NOW - 2 * DAY_MS)[:1]:
                        assert len(source.fetch(key, window).candles) == 0
                except SextantError as error:
                    assert "\n" not in str(error)

    def test_loopback_is_simulated(self, make):
        assert build(make, **{make.channel_name: "http://127.0.0.1:9"}).provenance == "SIMULATED"
        assert build(make).provenance == make.source_provenance

    def test_windows_cover_the_stretch_in_order(self, make):
        for market in make.candle_markets:
            source = build(make)
            key = SeriesKey("BTCUSDT", Interval.H1, market)
            start, end = parse_time("2026-01-03T05:00:00Z"), parse_time("2026-11-15T00:00:00Z")
            windows = source.windows(key, start, end)
            assert windows[0].start_ms == start and windows[-1].end_ms == end
            assert all(a.end_ms == b.start_ms for a, b in pairwise(windows))


def test_every_need_has_a_source():
    """What a module can ask for is provided by somebody, but for what only streams bring."""
    provided = {str(kind) for make in SOURCES for kind in make.provides} | {"candles"}
    streams_only = {str(kind) for kind in (Kind.LIQUIDATIONS, Kind.MINUTE_FLOW, Kind.SECOND_FLOW)}
    names = {str(kind) for kind in Kind} - streams_only
    assert names <= provided


# -- the archive over sockets -------------------------------------------------------------------------------------------------


@pytest.fixture
def vision(recordings):
    """The recorded archive, served as data.binance.vision serves it."""
    def answer(path: str) -> Reply:
        file = recordings / "vision" / path.split("?")[0].lstrip("/")
        return Reply(file.read_bytes(), headers=()) if file.is_file() else Reply(b"<Error>NoSuchKey</Error>", 404)

    with stub_server(answer) as stub:
        yield stub


def test_recorded_archive_is_downloaded_checked_and_read(vision, recordings):
    source = build(Archive, archive=vision.url)
    key = SeriesKey("WLDUSDT", Interval.H1, Market.PERP)
    start, end = parse_time("2023-09-01T00:00:00Z"), parse_time("2023-11-01T00:00:00Z")
    windows = source.windows(key, start, end)
    assert [window.name for window in windows] == ["2023-09", "2023-10"]
    bars = [source.fetch(key, window).candles for window in windows]
    assert [len(part) for part in bars] == [434, 744], "the recorded month begins with the series"
    assert bars[0].close_time[-1] + 1 == bars[1].open_time[0] and bars[1].close_time[-1] == end - 1
    assert any(path.endswith(".CHECKSUM") for path in vision.paths)

    spot = SeriesKey("BTCUSDT", Interval.H1)
    for month in sorted((recordings / "vision/data/spot/monthly").rglob("BTCUSDT-1h-*.zip"))[:2]:
        name = month.stem.removeprefix("BTCUSDT-1h-")
        first = parse_time(f"{name}-01")
        found = source.fetch(spot, source.windows(spot, first, first + 28 * DAY_MS)[0]).candles
        assert found.open_time[0] == first and len(found) >= 28 * 24 - 12


def test_recorded_funding_and_metrics_through_the_source(vision):
    source = build(Archive, archive=vision.url)
    funding = source.observations(Kind.FUNDING, "BTCUSDT", parse_time("2022-01-01"), parse_time("2022-07-01"), Market.PERP)
    assert len(funding) == 181 * 3 and set(funding["interval_h"]) == {8.0}
    day = parse_time("2023-12-12")
    for kind in (Kind.OPEN_INTEREST, Kind.GLOBAL_RATIO, Kind.TAKER_RATIO):
        found = source.observations(kind, "BTCUSDT", day - DAY_MS, day + 2 * DAY_MS, Market.PERP)
        assert len(found) == 52 and found.note == f"2 of 3 files of BTCUSDT {kind} are not published"
    assert sum("metrics-2023-12-12.zip" in path for path in vision.paths) == 2, "file and digest once, for three kinds"
    with pytest.raises(NotOffered, match="has no open interest of ETHUSDT"):
        source.observations(Kind.OPEN_INTEREST, "ETHUSDT", day, day + DAY_MS, Market.PERP)


def test_recorded_trades_through_the_source(vision):
    source = build(Archive, archive=vision.url)
    start, end = parse_time("2019-10-11T12:00:00Z"), parse_time("2019-10-14")
    found = source.observations(Kind.AGG_TRADES, "XRPETH", start, end, Market.SPOT)
    assert len(found) > 5_000
    assert np.all(np.diff(found["agg_id"]) == 1) and found.event_time[0] >= start and found["agg_id"][-1] == 13529869
    assert found.note == "1 of 3 files of XRPETH aggregated trades are not published" and found.provenance == "SIMULATED"
    assert sum(".CHECKSUM" in path for path in vision.paths) == 3
    with pytest.raises(NotOffered, match="has no trades of XRPETH"):
        source.observations(Kind.TRADES, "XRPETH", start, end, Market.SPOT)


def test_archive_file_that_differs_from_its_digest_is_refused(recordings):
    zips = recordings / "vision/data/futures/um/monthly/klines/WLDUSDT/1h"
    data = (zips / "WLDUSDT-1h-2023-09.zip").read_bytes()
    digest = (zips / "WLDUSDT-1h-2023-09.zip.CHECKSUM").read_bytes()
    for bad, words in ((data[:-9], "SHA-256"), (data[:2000] + b"x" + data[2001:], "SHA-256"), (b"<html>", "SHA-256")):
        with stub_server(lambda path, bad=bad: Reply(digest if path.endswith("CHECKSUM") else bad, headers=())) as stub:
            source = build(Archive, archive=stub.url)
            key = SeriesKey("WLDUSDT", Interval.H1, Market.PERP)
            with pytest.raises(BadPayload, match=words):
                source.fetch(key, source.windows(key, parse_time("2023-09-01"), parse_time("2023-10-01"))[0])
            assert len(stub.seen) == 4, "downloaded twice: the file could have been replaced in between"


def test_unpublished_month_is_asked_by_day_and_then_a_hole():
    with stub_server(Reply(b"", 404)) as stub:
        source = build(Archive, archive=stub.url)
        key = SeriesKey("BTCUSDT", Interval.H1)
        window = source.windows(key, parse_time("2026-10-01"), parse_time("2026-11-01"))[0]
        assert len(source.fetch(key, window).candles) == 0
        assert len(stub.seen) == 32
        assert source.windows(key, NOW - DAY_MS // 4, NOW) == [], "nothing of today"
        assert [w.name for w in source.windows(SeriesKey("BTCUSDT", Interval.W1), parse_time("2026-10-01"),
                                               parse_time("2026-10-08"))] == ["2026-10"]
