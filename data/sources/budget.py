"""How much may be asked of whom, and when again: request weight, a vendor's own limits, bans and blocks that outlive a restart.

The budget never sleeps. A request that would go over a limit is refused with `RateLimited`, which says when to come back; whoever
can wait (the collector) waits, whoever cannot (a page) shows the time. Bans (429, 418) and blocks (451, 403) are written to one
small file and read again when another process has changed it, so a restart or a second process asks nothing too early.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from data.clock import Clock
from data.errors import Blocked, RateLimited
from data.market import DAY_MS, MINUTE_MS
from data.storage.durable import make_folder, no_fault, replace_file

BLOCK_MS = 30 * MINUTE_MS  # a 451 or 403 is final for a host for this long (reliability.md 3)
LONGEST_WAIT_MS = 3 * DAY_MS  # Binance's longest ban; a stored time further away comes from a clock that jumped
_SHARE = 0.8  # of the weight limit is used: the address may be shared, and the minute of the exchange is not ours
_DEFAULT_WAIT_MS = {429: MINUTE_MS, 418: 2 * MINUTE_MS}  # where the answer names no time
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


@dataclass(frozen=True)
class Channel:
    """One host as this program uses it.

    Attributes
    ----------
    name : str
        Short and unique: api, mirror, fapi, eapi, archive, okx ...
    vendor : str
        What a user calls it.
    base : str
        Scheme and host, without a slash at the end.
    weight_1m : int or None
        Request weight per minute; None where the vendor has none.
    windows : mapping of limiter name to (requests, seconds)
        Own limits of groups of paths; the name "" counts every request.
    """

    name: str
    vendor: str
    base: str
    weight_1m: int | None = None
    windows: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.base.split("://", 1)[-1]

    @property
    def key(self) -> str:
        return f"{self.name}@{self.host}"


@dataclass
class ChannelState:
    """What is known about a channel now; times are UTC milliseconds, 0 for never."""

    used_weight: int = 0
    weight_1m: int | None = None
    minute: int = 0
    wait_until_ms: int = 0
    blocked_until_ms: int = 0
    blocked_status: int = 0
    last_success_ms: int = 0
    last_error: str = ""
    last_error_ms: int = 0
    latency_ms: float = float("nan")
    recent: dict[str, deque[int]] = field(default_factory=dict)


class Budget:
    """Thread-safe. `path` of None keeps nothing between runs."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._guard = threading.Lock()
        self._states: dict[str, ChannelState] = {}
        self._seen: tuple[int, int, int] | None = None

    def state(self, channel: Channel) -> ChannelState:
        with self._guard:
            self._reload()
            return self._of(channel)

    def admit(self, channel: Channel, weight: int = 1, limiter: str = "") -> None:
        """Count a request about to be sent.

        Raises
        ------
        Blocked, RateLimited
            When it must not be sent now.
        """
        now = self._clock.now_ms()
        with self._guard:
            self._reload()
            state = self._of(channel)
            if state.blocked_until_ms > now:
                raise Blocked(blocked_words(channel, state.blocked_status, state.blocked_until_ms), host=channel.host)
            if state.wait_until_ms > now:
                raise RateLimited(wait_words(channel, state.wait_until_ms), host=channel.host, retry_at_ms=state.wait_until_ms)
            self._roll(state, now)
            limit = state.weight_1m or channel.weight_1m
            if limit is not None and state.used_weight and state.used_weight + weight > _SHARE * limit:
                again = (now // MINUTE_MS + 1) * MINUTE_MS
                raise RateLimited(f"{channel.vendor}: {state.used_weight} of {limit} request weight is used in this minute; the next "
                                  f"request goes out at {_hour(again)}", host=channel.host, retry_at_ms=again)
            queues = []
            for name in {"", limiter}:
                if name not in channel.windows:
                    continue
                requests, seconds = channel.windows[name]
                queue = state.recent.setdefault(name, deque())
                while queue and not now - seconds * 1000 < queue[0] <= now:
                    queue.popleft()
                if len(queue) >= requests:
                    again = queue[0] + seconds * 1000 + 1
                    what = f"{name} requests" if name else "requests"
                    raise RateLimited(f"{channel.vendor}: {requests} {what} in {seconds} s are allowed and used; the next one goes out at "
                                      f"{_hour(again)}", host=channel.host, retry_at_ms=again)
                queues.append(queue)
            for queue in queues:
                queue.append(now)
            state.used_weight += weight

    def succeeded(self, channel: Channel, headers: Mapping[str, str], latency_ms: float) -> None:
        now = self._clock.now_ms()
        with self._guard:
            state = self._of(channel)
            self._roll(state, now)
            used = _whole(headers.get("x-mbx-used-weight-1m", ""))
            if used is not None:  # requests still on their way are counted here only, hence the larger of the two
                state.used_weight = max(state.used_weight, used)
            state.last_success_ms, state.latency_ms, state.last_error = now, latency_ms, ""

    def failed(self, channel: Channel, words: str) -> None:
        with self._guard:
            state = self._of(channel)
            state.last_error, state.last_error_ms = words, self._clock.now_ms()

    def limited(self, channel: Channel, status: int, headers: Mapping[str, str], body: str) -> RateLimited:
        """Learn from a 429 or 418: nothing goes out before the time it names. The error to raise."""
        now = self._clock.now_ms()
        until = now + _DEFAULT_WAIT_MS.get(status, MINUTE_MS)
        after = _whole(headers.get("retry-after", "").strip())
        if after is not None:
            until = now + max(1, after) * 1000
        named = _BANNED_UNTIL.search(body)
        if named:
            until = max(until if after is not None else 0, int(named[1]))
        until = min(max(until, now + 1000), now + LONGEST_WAIT_MS)
        with self._guard, self._alone():
            state = self._of(channel)
            state.wait_until_ms = max(state.wait_until_ms, until)
            state.last_error, state.last_error_ms = wait_words(channel, state.wait_until_ms), now
            self._save()
            return RateLimited(state.last_error, host=channel.host, retry_at_ms=state.wait_until_ms)

    def refused(self, channel: Channel, status: int) -> Blocked:
        """Learn from a 451 or 403: the host is left alone for half an hour. The error to raise."""
        now = self._clock.now_ms()
        with self._guard, self._alone():
            state = self._of(channel)
            state.blocked_until_ms, state.blocked_status = now + BLOCK_MS, status
            state.last_error, state.last_error_ms = blocked_words(channel, status, state.blocked_until_ms), now
            self._save()
            return Blocked(state.last_error, host=channel.host)

    def learn_limit(self, channel: Channel, weight_1m: int) -> None:
        """The limit that exchangeInfo states."""
        with self._guard:
            self._of(channel).weight_1m = weight_1m

    # -- inside the lock --------------------------------------------------------------------------------------------------

    def _of(self, channel: Channel) -> ChannelState:
        state, now = self._states.setdefault(channel.key, ChannelState()), self._clock.now_ms()
        # A clock that was set back leaves ends that lie too far ahead.
        state.blocked_until_ms = min(state.blocked_until_ms, now + BLOCK_MS)
        state.wait_until_ms = min(state.wait_until_ms, now + LONGEST_WAIT_MS)
        return state

    @staticmethod
    def _roll(state: ChannelState, now: int) -> None:
        if state.minute != now // MINUTE_MS:
            state.minute, state.used_weight = now // MINUTE_MS, 0

    def _reload(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except OSError:
            return
        token = (found.st_mtime_ns, found.st_size, found.st_ino)
        if token == self._seen:
            return
        self._seen = token
        now = self._clock.now_ms()
        for key, kept in _read(self._path).items():
            state = self._states.setdefault(key, ChannelState())
            state.wait_until_ms = max(state.wait_until_ms, min(kept[0], now + LONGEST_WAIT_MS))
            blocked = min(kept[1], now + BLOCK_MS)
            if blocked > state.blocked_until_ms:
                state.blocked_until_ms, state.blocked_status = blocked, kept[2]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes between what is read here and what is added to it; a lock that cannot be had is done without."""
        if self._path is None:
            yield
            return
        lock = FileLock(self._path.with_suffix(".lock"), timeout=1, poll_interval=0.02)
        with suppress(OSError):  # Timeout is one
            make_folder(self._path.parent)
            lock.acquire()
        try:
            self._reload()
            yield
        finally:
            lock.release()

    def _save(self) -> None:
        if self._path is None:
            return
        now = self._clock.now_ms()
        kept = {key: [s.wait_until_ms, s.blocked_until_ms, s.blocked_status] for key, s in sorted(self._states.items())
                if max(s.wait_until_ms, s.blocked_until_ms) > now}
        try:
            make_folder(self._path.parent)
            replace_file(self._path, json.dumps({"format": 1, "channels": kept}).encode(), no_fault, "budget")
        except OSError:
            return  # a full or read-only disk: the ban still holds in this process, and the disk has its own banner


def _read(path: Path) -> dict[str, tuple[int, int, int]]:
    """The stored bans; a damaged file counts as none: the exchange would name the ban again in its next answer."""
    try:
        channels = json.loads(path.read_bytes())["channels"]
        return {str(key): (int(value[0]), int(value[1]), int(value[2])) for key, value in channels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        return {}


def _whole(text: str) -> int | None:
    """The number in a header; None for whatever is none: foreign digits and endless ones too."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _hour(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%H:%M:%S UTC")


def wait_words(channel: Channel, until_ms: int) -> str:
    moment = datetime.fromtimestamp(-(-until_ms // MINUTE_MS) * 60, UTC)  # rounded up: never promise too early
    return f"{channel.vendor} asks us to wait until {moment:%H:%M} UTC ({moment:%Y-%m-%d})"


def blocked_words(channel: Channel, status: int, until_ms: int) -> str:
    again = datetime.fromtimestamp(until_ms // 1000, UTC)
    if status == 451:
        return f"{channel.vendor} is not available from this server's country ({channel.host}); asked again at {again:%H:%M} UTC"
    return f"{channel.vendor}'s firewall refuses this server ({status} from {channel.host}); asked again at {again:%H:%M} UTC"
