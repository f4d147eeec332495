"""The fault script: what goes wrong at the venue, to whom, and when.

A script is JSON, so that a failing run can be kept beside the tests:

    {"format": "sextant-faults-1", "faults": [
        {"kind": "cut", "at": "2026-11-20T08:31:00Z", "host": "stream"},
        {"kind": "429", "at": "2026-11-20T08:32:00Z", "duration_ms": 60000, "host": "api", "path": "/api/v3/klines", "value": 30}]}

A fault is armed from `at` on: for `duration_ms`, or for `count` answers or messages, or both; with neither it strikes once. Targets are
shell patterns (`*` and `?`); an empty target means any. What `value` means stands in `KINDS`.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from data.clock import iso, parse_time
from data.errors import InputError
from data.simulator.venue_hosts import STREAM_HOSTS, Host

FORMAT = "sextant-faults-1"


class FaultKind(StrEnum):
    # answers to requests
    HTTP_403 = "403"
    HTTP_418 = "418"
    HTTP_429 = "429"
    HTTP_451 = "451"
    HTTP_500 = "500"
    HTTP_502 = "502"
    HTTP_503 = "503"
    HTTP_504 = "504"
    HTML = "html"
    REDIRECT = "redirect"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    MALFORMED_JSON = "malformed_json"
    WRONG_SHAPE = "wrong_shape"
    HANG = "hang"
    SLOW = "slow"
    RESET = "reset"
    STALE = "stale"
    # both
    SKEW = "skew"
    GAP = "gap"
    LATE_CANDLE = "late_candle"
    # connections
    CUT = "cut"
    CLOSE = "close"
    SHUTDOWN = "shutdown"
    REFUSE = "refuse"
    SILENCE = "silence"
    SILENT_STREAM = "silent_stream"
    NO_PING = "no_ping"
    # messages
    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    MALFORM = "malform"
    WRONG_TYPE = "wrong_type"
    BINARY = "binary"
    BURST = "burst"


@dataclass(frozen=True)
class KindFacts:
    """Where a kind strikes ("rest", "stream", "message" or "both"), its default `value`, and what that means."""

    channel: str
    value: int
    meaning: str


F = FaultKind
KINDS: dict[FaultKind, KindFacts] = {
    F.HTTP_403: KindFacts("rest", 0, "refused by the firewall, HTML body"),
    F.HTTP_418: KindFacts("rest", 120, "banned; value = Retry-After in seconds"),
    F.HTTP_429: KindFacts("rest", 30, "too many requests; value = Retry-After in seconds"),
    F.HTTP_451: KindFacts("rest", 0, "restricted location; stream upgrades of the host too"),
    F.HTTP_500: KindFacts("rest", 0, "internal error, JSON -1000"),
    F.HTTP_502: KindFacts("rest", 0, "bad gateway, HTML body"),
    F.HTTP_503: KindFacts("rest", 0, "overloaded, JSON -1008"),
    F.HTTP_504: KindFacts("rest", 0, "back end timed out, JSON -1007"),
    F.HTML: KindFacts("rest", 0, "a maintenance page with status 200"),
    F.REDIRECT: KindFacts("rest", 0, "302 to another host"),
    F.EMPTY: KindFacts("rest", 0, "status 200 and no body"),
    F.TRUNCATED: KindFacts("rest", 0, "the connection dies in the middle of the body"),
    F.MALFORMED_JSON: KindFacts("rest", 0, "half of the JSON, complete by its length"),
    F.WRONG_SHAPE: KindFacts("rest", 0, "valid JSON of another shape"),
    F.HANG: KindFacts("rest", 30_000, "no answer for value ms of wall clock, then the connection dies"),
    F.SLOW: KindFacts("rest", 500, "the answer comes after value ms of wall clock"),
    F.RESET: KindFacts("rest", 0, "the connection dies without an answer"),
    F.STALE: KindFacts("rest", 120_000, "the answer that was true value ms ago"),
    F.SKEW: KindFacts("both", 3_600_000, "the server's clock and event times are value ms ahead (negative: behind)"),
    F.GAP: KindFacts("both", 0, "candles that lie inside the fault's time never existed: an exchange halt, for ever"),
    F.LATE_CANDLE: KindFacts("both", 30_000, "a closed candle appears value ms late, on streams and REST"),
    F.CUT: KindFacts("stream", 0, "open connections die without a close frame"),
    F.CLOSE: KindFacts("stream", 0, "open connections are closed with 1001"),
    F.SHUTDOWN: KindFacts("stream", 0, "serverShutdown, then the close"),
    F.REFUSE: KindFacts("stream", 503, "upgrades are refused with status value"),
    F.SILENCE: KindFacts("stream", 0, "connections open at the time stay open and say nothing any more, not even ping"),
    F.SILENT_STREAM: KindFacts("stream", 0, "matching streams of connections open at the time say nothing any more; others go on"),
    F.NO_PING: KindFacts("stream", 0, "no server pings"),
    F.DROP: KindFacts("message", 0, "the message is lost"),
    F.DELAY: KindFacts("message", 5_000, "the message comes value ms late"),
    F.DUPLICATE: KindFacts("message", 1, "the message comes value times more"),
    F.REORDER: KindFacts("message", 0, "the message comes after the next one of its connection"),
    F.MALFORM: KindFacts("message", 0, "the first half of the message's text"),
    F.WRONG_TYPE: KindFacts("message", 0, "valid JSON that is no such message"),
    F.BINARY: KindFacts("message", 0, "a binary frame of bytes that are no text"),
    F.BURST: KindFacts("message", 500, "the message value times in a row"),
}
REST_KINDS = frozenset(k for k, f in KINDS.items() if f.channel == "rest")
CONNECTION_KINDS = frozenset(k for k, f in KINDS.items() if f.channel == "stream")
MESSAGE_KINDS = frozenset(k for k, f in KINDS.items() if f.channel == "message")


@dataclass(frozen=True)
class Fault:
    """One entry of the script. Times are venue time in ms.

    Raises
    ------
    InputError
        When a field does not fit its kind; the message says what would.
    """

    kind: FaultKind
    at_ms: int
    duration_ms: int = 0
    count: int = 0
    host: str = ""
    path: str = ""
    stream: str = ""
    symbol: str = ""
    value: int | None = None

    def __post_init__(self) -> None:
        facts = KINDS[self.kind]
        for name in ("at_ms", "duration_ms", "count"):
            if getattr(self, name) < 0:
                raise InputError(f"fault {self.kind}: {name} must be 0 or more, got {getattr(self, name)}")
        if self.host and self.host not in tuple(Host):
            near = difflib.get_close_matches(self.host, list(Host), n=1)
            raise InputError(f"fault {self.kind}: expected a host of {', '.join(Host)}, got {self.host[:30]!r}"
                             f"{f'; did you mean {near[0]}?' if near else ''}")
        if self.path and facts.channel in ("stream", "message"):
            raise InputError(f"fault {self.kind} strikes streams and has no path; name a stream, e.g. \"stream\": \"btcusdt@kline_*\"")
        if self.stream and facts.channel == "rest":
            raise InputError(f"fault {self.kind} strikes requests and has no stream; name a path, e.g. \"path\": \"/api/v3/klines\"")
        if self.host and self.kind in (F.GAP, F.LATE_CANDLE):
            raise InputError(f"fault {self.kind} befalls the market and has no host; name a symbol, e.g. \"symbol\": \"BTCUSDT\"")
        if self.kind is F.GAP and not self.duration_ms:
            raise InputError("fault gap needs duration_ms: the candles between at and at + duration_ms are the hole")
        if self.value is None:
            object.__setattr__(self, "value", facts.value)
        elif self.value < 0 and self.kind is not F.SKEW:
            raise InputError(f"fault {self.kind}: value must be 0 or more ({facts.meaning}), got {self.value}")

    @property
    def amount(self) -> int:
        assert self.value is not None
        return self.value

    @property
    def most(self) -> int:
        """How often it strikes; 0 for as often as it can while its time lasts."""
        return self.count if self.count or self.duration_ms else 1

    def armed(self, now: int) -> bool:
        return self.at_ms <= now and (not self.duration_ms or now < self.at_ms + self.duration_ms)

    def aims_at(self, host: str, *, path: str = "", stream: str = "", symbol: str = "") -> bool:
        return ((not self.host or self.host == host) and (not self.path or fnmatchcase(path, self.path))
                and (not self.stream or fnmatchcase(stream, self.stream))
                and (not self.symbol or fnmatchcase(symbol.upper(), self.symbol.upper())))


@dataclass
class FaultBoard:
    """A script at work: what strikes now, and what has struck.

    Attributes
    ----------
    struck : list of (venue ms, kind, target)
        Every single strike, in order: tests count these. A lasting fault (skew, late candle) counts once per target it was felt at.
    landed : set of int
        Which entries of the script have struck.
    """

    script: tuple[Fault, ...] = ()
    struck: list[tuple[int, FaultKind, str]] = field(default_factory=list)
    landed: set[int] = field(default_factory=set)
    _uses: dict[int, int] = field(default_factory=dict)
    _felt: set[tuple[int, str]] = field(default_factory=set)

    def add(self, faults: Iterable[Fault]) -> None:
        self.script = (*self.script, *faults)

    def strike(self, kinds: frozenset[FaultKind], now: int, host: str, *, path: str = "", stream: str = "",
               symbol: str = "") -> list[Fault]:
        """The armed faults of these kinds that aim here; each strike is counted."""
        found = []
        for number, fault in enumerate(self.script):
            if fault.kind in kinds and fault.armed(now) and fault.aims_at(host, path=path, stream=stream, symbol=symbol):
                if fault.most and self._uses.get(number, 0) >= fault.most:
                    continue
                self._uses[number] = self._uses.get(number, 0) + 1
                self.struck.append((now, fault.kind, stream or path or host))
                self.landed.add(number)
                found.append(fault)
        return found

    def feel(self, kind: FaultKind, at: int, now: int, target: str, *, host: str = "", symbol: str = "") -> None:
        """Count a lasting fault that was armed at `at` where it first shows."""
        for number, fault in enumerate(self.script):
            if fault.kind is kind and fault.armed(at) and fault.aims_at(host, symbol=symbol) and (number, target) not in self._felt:
                self._felt.add((number, target))
                self.landed.add(number)
                self.struck.append((now, kind, target))

    def starting(self, kinds: frozenset[FaultKind], after: int, until: int) -> list[Fault]:
        """Faults of these kinds whose time comes with after < at <= until."""
        return [f for f in self.script if f.kind in kinds and after < f.at_ms <= until]

    def hole(self, symbol: str, opened: int, end: int) -> bool:
        """Whether a candle from `opened` to `end` lies inside a gap."""
        return any(f.kind is F.GAP and f.aims_at("", symbol=symbol) and f.at_ms <= opened and end <= f.at_ms + f.duration_ms
                   for f in self.script)

    def late_ms(self, symbol: str, closed: int) -> int:
        """By how much the candle that closed at a moment is late."""
        late = [f.amount for f in self.script if f.kind is F.LATE_CANDLE and f.armed(closed) and f.aims_at("", symbol=symbol)]
        return max(late, default=0)

    def skew_ms(self, now: int, host: str) -> int:
        """What to add to the server's clock."""
        return sum(f.amount for f in self.script if f.kind is F.SKEW and f.armed(now) and f.aims_at(host))


# -- the file ---------------------------------------------------------------------------------------------------------


def parse_script(document: Any) -> tuple[Fault, ...]:
    """Faults of a JSON document; times may be milliseconds or ISO 8601 text.

    Raises
    ------
    InputError
        Naming the entry, what is wrong with it, and what would be right.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("faults"), list):
        raise InputError(f'expected {{"format": "{FORMAT}", "faults": [...]}}, got {str(document)[:60]!r}')
    known = {f.name for f in fields(Fault)} - {"at_ms"} | {"at"}
    out = []
    for number, entry in enumerate(document["faults"]):
        where = f"fault number {number + 1}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object, got {str(entry)[:40]!r}")
        for name in entry:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                raise InputError(f"{where}: unknown field {name[:30]!r}{f'; did you mean {near[0]}?' if near else ''}; "
                                 f"known: {', '.join(sorted(known))}")
        kinds = [str(k) for k in FaultKind]
        if entry.get("kind") not in kinds:
            near = difflib.get_close_matches(str(entry.get("kind")), kinds, n=1)
            raise InputError(f"{where}: expected a kind of {', '.join(kinds)}, got {str(entry.get('kind'))[:30]!r}"
                             f"{f'; did you mean {near[0]}?' if near else ''}")
        if "at" not in entry:
            raise InputError(f'{where}: needs "at", the venue time it is armed from, e.g. "2026-11-20T08:31:00Z"')
        at = parse_time(entry["at"]) if isinstance(entry["at"], str) else entry["at"]
        rest = {k: v for k, v in entry.items() if k not in ("kind", "at")}
        for name in ("at", "duration_ms", "count", "value"):
            given = at if name == "at" else rest.get(name, 0)
            if not isinstance(given, int) or isinstance(given, bool):
                raise InputError(f"{where}: {name} must be a whole number of ms or times, got {str(given)[:30]!r}")
        for name in ("host", "path", "stream", "symbol"):
            if not isinstance(rest.get(name, ""), str):
                raise InputError(f"{where}: {name} must be text, got {str(rest[name])[:30]!r}")
        out.append(Fault(kind=FaultKind(entry["kind"]), at_ms=at, **rest))
    return tuple(out)


def script_document(script: Iterable[Fault]) -> dict[str, Any]:
    """The JSON document of a script; defaults are left out."""
    entries = []
    for fault in script:
        entry = {k: v for k, v in asdict(fault).items() if v not in (0, "", None) and k != "at_ms"}
        entries.append({"kind": str(fault.kind), "at": iso(fault.at_ms), **{k: v for k, v in entry.items() if k != "kind"}})
    return {"format": FORMAT, "faults": entries}


def load_script(path: Path) -> tuple[Fault, ...]:
    try:
        return parse_script(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read a fault script from {path.name}: {error}") from None


def outage(at_ms: int, duration_ms: int, hosts: Iterable[Host] = tuple(Host)) -> tuple[Fault, ...]:
    """Hosts that are gone for a while: open streams die, upgrades and requests get no answer."""
    out: list[Fault] = []
    for host in hosts:
        if host in STREAM_HOSTS:
            out += [Fault(F.CUT, at_ms, duration_ms, host=host), Fault(F.REFUSE, at_ms, duration_ms, host=host, value=503)]
        else:
            out.append(Fault(F.RESET, at_ms, duration_ms, host=host))
    return tuple(out)


def random_script(seed: int, count: int, start_ms: int, end_ms: int, *, kinds: Iterable[FaultKind] | None = None,
                  hosts: Iterable[Host] = tuple(Host)) -> tuple[Fault, ...]:
    """`count` faults at random moments, every kind about equally often, in the order of their times.

    A gap makes candles that never existed, so it is not drawn unless named in `kinds`; hangs are short, or a run would take hours.
    """
    if count < 0 or end_ms <= start_ms:
        raise InputError(f"expected count >= 0 and start < end, got {count}, {start_ms}, {end_ms}")
    stream = random.Random(f"faults-{seed}")
    drawn = list(kinds) if kinds is not None else [k for k in FaultKind if k is not F.GAP]
    allowed = list(hosts)
    out = []
    for number in range(count):
        kind = drawn[number % len(drawn)]
        channel = KINDS[kind].channel
        fitting = [h for h in allowed if channel == "both" or (h in STREAM_HOSTS) == (channel != "rest")] or allowed
        lasting = kind in (F.SILENCE, F.SILENT_STREAM, F.NO_PING, F.SKEW, F.LATE_CANDLE, F.GAP)
        duration = stream.randrange(60_000, 600_000) if lasting else stream.choice((0, 0, stream.randrange(1_000, 30_000)))
        everywhere = kind in (F.GAP, F.LATE_CANDLE)
        out.append(Fault(kind, stream.randrange(start_ms, end_ms), duration_ms=duration, count=0 if lasting else stream.randrange(1, 6),
                         host="" if everywhere else str(stream.choice(fitting)),
                         value={F.HANG: 200, F.SLOW: 50, F.SKEW: stream.choice((-1, 1)) * 30_000}.get(kind)))
    return tuple(sorted(out, key=lambda f: (f.at_ms, f.kind)))
