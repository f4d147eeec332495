"""One Sextant per process, what the address bar says, who may change things, and the last catch before a user."""

from __future__ import annotations

import gc
import hmac
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import streamlit as st

from core.collecting import Collecting
from core.kept import Kept
from core.sextant import Sextant, World
from core.wiring import build
from data.errors import LockHeld, SextantError
from data.market import Interval, Market, SeriesKey
from pages.ui.widgets import plain

RESULTS_KEPT = 128
P = ParamSpec("P")
T = TypeVar("T")


@st.cache_resource(show_spinner=False)
def workbench() -> Sextant:
    """The shared facade; built at the first page of the process."""
    return build()


@st.cache_resource(show_spinner=False)
def settle() -> bool:
    """After the first paint, once per process: freeze what was imported out of the garbage collector's sight (it runs after
    every script run and its cost grows with all that is loaded), and compile the kernels in the background."""
    from core.warm import load_kernels

    gc.collect()
    gc.freeze()
    threading.Thread(target=load_kernels, name="kernel-compiler", daemon=True).start()
    collector()
    return True


@st.cache_resource(show_spinner=False, on_release=lambda collector: collector.stop())
def collector() -> Collecting:
    """The one background service of the process: it keeps the store current while a real or loopback world is shown."""
    sextant = workbench()
    service = sextant.collector()
    if sextant.outside.allowed and sextant.world is not World.SIMULATED:
        with suppress(LockHeld):  # another process does it; the state says so
            service.start()
    return service


def show_world(world: World) -> None:
    """Switch worlds, and the background service with them: it was built for the one shown before."""
    workbench().use_world(world)
    collector.clear()
    collector()


@dataclass(frozen=True)
class Focus:
    """What the page looks at: a series that exists."""

    key: SeriesKey

    @property
    def symbol(self) -> str:
        return self.key.symbol


def focus() -> Focus:
    """The series of the address bar (`?symbol=&interval=&market=`); unknown or absent parts fall back to what exists."""
    sextant = workbench()
    asked = st.query_params
    try:
        market = Market.parse(asked.get("market", str(sextant.settings.market)))
    except SextantError:
        market = Market.SPOT
    symbols = sextant.symbols(market) or sextant.symbols()
    symbol = asked.get("symbol", "").upper()
    if symbol and symbol not in symbols:
        st.toast(f"No data for {symbol[:24]} yet: showing {symbols[0] if symbols else 'nothing'} instead.")
    if symbol not in symbols:
        symbol = symbols[0] if symbols else sextant.settings.watchlist[0]
    held = [str(i) for i in sextant.intervals(symbol, market)]
    interval = asked.get("interval", str(sextant.settings.interval))
    if interval not in held:
        interval = str(sextant.settings.interval) if str(sextant.settings.interval) in held else (held[-1] if held else "1h")
    return Focus(SeriesKey(symbol, Interval(interval), market))


def remember(*, symbol: str | None = None, interval: str | None = None, market: str | None = None) -> None:
    """Write the focus into the address bar, so that the view can be opened again."""
    for name, value in (("symbol", symbol), ("interval", interval), ("market", market)):
        if value is not None:
            st.query_params[name] = value


def may_write() -> bool:
    """Whether this browser may change state: the owner's password, or a local browser where none is set (decisions.md 36)."""
    password = workbench().settings.owner_password
    if password is not None:
        return hmac.compare_digest(str(st.session_state.get("owner", "")).encode(), password.get_secret_value().encode())
    forwarded = any(name.lower() == "x-forwarded-for" for name in st.context.headers)
    return st.context.ip_address in (None, "127.0.0.1", "::1") and not forwarded


def ask_owner() -> None:
    """The form a guest sees instead of a button."""
    if workbench().settings.owner_password is None:
        st.info("Viewing only: changes are made from the computer Sextant runs on, or with the owner's password.", icon=":material/lock:")
        return
    given = st.text_input("Owner's password", type="password", key="owner-entry")
    if given:
        st.session_state["owner"] = given
        if may_write():
            st.rerun()
        st.error("That is not the password.")


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Known errors become their sentence, unknown ones a short code; the log has the rest. No traceback reaches a user."""
    try:
        yield
    except SextantError as error:
        from core.logbook import mask

        st.error(plain(mask(str(error))), icon=":material/error:")
    except Exception as error:  # noqa: BLE001 - the last stop before a user; Streamlit's own control flow is not an Exception
        from core.logbook import unexpected

        st.error(f"Something failed while drawing {what} ({unexpected(error)}). Details are in the log; the other pages go on.",
                 icon=":material/error:")


def redrawn(what: str, *, every: str | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A part of a page that is drawn again without the rest: by its own widgets, and every so often. Such a run is outside of the page's
    last catch, so the part brings its own."""
    def decorate(draw: Callable[P, None]) -> Callable[P, None]:
        @wraps(draw)
        def safe(*args: P.args, **named: P.kwargs) -> None:
            with guarded(what):
                draw(*args, **named)

        return st.fragment(safe, run_every=every)

    return decorate


@st.cache_resource(show_spinner=False)
def _results() -> Kept[Any]:
    return Kept(RESULTS_KEPT)


def kept(compute: Callable[[], T], *depends_on: Hashable) -> T:
    """What a page reads again at each rerun, computed once per content. `depends_on` must name the question and all that its answer
    depends on, as `Sextant.content` does for a series."""
    return _results().get(depends_on, compute)
