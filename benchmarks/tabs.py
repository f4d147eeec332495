"""Scripted browser tabs: Streamlit's own WebSocket protocol without a browser, so that fifty of them fit beside the server.

A tab opens a page, then does something every few seconds: goes to another page, or changes a select box or a segmented control of the
one it is on. With `--mix look` it leaves alone what asks for another interval or another rule of every symbol (`AFRESH`), which nobody
has had computed; with `--mix all` it takes anything. Fragments that rerun by themselves are asked for as a browser would.
`python -m benchmarks.tabs URL --tabs 50 --seconds 600` prints one JSON document; it runs in a process of its own, so that it shares no
interpreter with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass, field

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates

EARLY = ForwardMsg.FINISHED_EARLY_FOR_RERUN
FRAGMENT = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
LARGEST = 64 << 20
PATIENCE_S = 120.0
AFRESH = frozenset({"Interval", "Strategy", "Returns of", "Composite", "What changed in"})  # each another full computation at first


@dataclass
class Choice:
    """A widget with options: what to send so that it changes."""

    identity: str
    label: str
    options: tuple[str, ...]
    many: bool  # a segmented control sends a list
    fragment: str

    def state(self, chosen: str) -> WidgetState:
        return WidgetState(id=self.identity, string_array_value={"data": [chosen]}) if self.many else WidgetState(
            id=self.identity, string_value=chosen)


@dataclass
class Tab:
    """One session. `took` holds (kind, what, seconds) of every action, `errors` what a person would have seen or lost."""

    url: str
    stream: random.Random
    left_alone: frozenset[str] = frozenset()
    took: list[tuple[str, str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    page: str = ""
    choices: dict[str, Choice] = field(default_factory=dict)
    reruns: dict[str, asyncio.Task] = field(default_factory=dict)
    states: dict[str, WidgetState] = field(default_factory=dict)
    rested: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, until: float, every_s: float) -> None:
        address = self.url.replace("http://", "ws://") + "/_stcore/stream"
        try:
            async with websockets.connect(address, subprotocols=["streamlit"], max_size=LARGEST, proxy=None) as self.socket:
                listening = asyncio.create_task(self._listen())
                await self._do("first", "", lambda: self._rerun())
                while (left := until - time.monotonic()) > 0:
                    await asyncio.sleep(min(left, self.stream.uniform(0.6, 1.4) * every_s))
                    if time.monotonic() < until:
                        await self._act()
                for task in [*self.reruns.values(), listening]:
                    task.cancel()
                if listening.done() and not listening.cancelled() and (error := listening.exception()):
                    self.errors.append(f"the line broke: {error}")
        except (OSError, websockets.WebSocketException) as error:
            self.errors.append(f"the line broke: {type(error).__name__}: {error}")

    async def _act(self) -> None:
        others = [page for page in self.pages.values() if page != self.page]
        choices = [choice for choice in self.choices.values() if choice.label not in self.left_alone]
        if choices and self.stream.random() < 0.4:
            choice = self.stream.choice(choices)
            chosen = self.stream.choice(choice.options)
            self.states[choice.identity] = choice.state(chosen)
            await self._do("widget", f"{self._name()}: {choice.label} = {chosen}", lambda: self._rerun(fragment=choice.fragment))
        elif others:
            self.page = self.stream.choice(others)
            self.choices, self.states = {}, {}
            for task in self.reruns.values():
                task.cancel()
            self.reruns = {}
            await self._do("page", self._name(), lambda: self._rerun())

    def _name(self) -> str:
        return next((name for name, page in self.pages.items() if page == self.page), "") or "overview"

    async def _do(self, kind: str, what: str, ask) -> None:
        self.rested.clear()
        began = time.monotonic()
        await ask()
        try:
            await asyncio.wait_for(self.rested.wait(), PATIENCE_S)
        except TimeoutError:
            self.errors.append(f"{kind} {what}: nothing was finished in {PATIENCE_S:.0f} s")
        self.took.append((kind, what, time.monotonic() - began))

    async def _rerun(self, fragment: str = "", *, by_itself: bool = False) -> None:
        message = BackMsg()
        message.rerun_script.page_script_hash = self.page
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = by_itself
        message.rerun_script.widget_states.CopyFrom(WidgetStates(widgets=list(self.states.values())))
        await self.socket.send(message.SerializeToString())

    async def _again(self, fragment: str, every_s: float) -> None:
        """A fragment's own clock, as the browser keeps it."""
        with contextlib.suppress(websockets.WebSocketException):
            while True:
                await asyncio.sleep(every_s)
                await self._rerun(fragment, by_itself=True)

    async def _listen(self) -> None:
        async for raw in self.socket:
            message = ForwardMsg.FromString(raw)
            what = message.WhichOneof("type")
            if what == "script_finished" and message.script_finished != EARLY:
                if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    self.errors.append("a page could not be compiled")
                self.rested.set()
            elif what == "navigation":
                self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
                self.page = self.page or message.navigation.page_script_hash
            elif what == "auto_rerun":
                fragment = message.auto_rerun.fragment_id
                if fragment not in self.reruns:
                    self.reruns[fragment] = asyncio.create_task(self._again(fragment, message.auto_rerun.interval))
            elif what == "delta" and message.delta.WhichOneof("type") == "new_element":
                self._saw(message.delta.new_element, message.delta.fragment_id)
            elif what == "session_event" and message.session_event.WhichOneof("type") == "script_compilation_exception":
                self.errors.append(message.session_event.script_compilation_exception.message[:200])

    def _saw(self, element, fragment: str) -> None:
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors.append(f"{element.exception.type}: {element.exception.message[:200]}")
        elif kind == "selectbox" and element.selectbox.options and not element.selectbox.disabled and not element.selectbox.form_id:
            box = element.selectbox
            self.choices[box.id] = Choice(box.id, box.label, tuple(box.options), False, fragment)
        elif kind == "button_group" and element.button_group.options and not element.button_group.form_id:
            group = element.button_group
            self.choices[group.id] = Choice(group.id, group.label, tuple(option.content for option in group.options), True, fragment)


def quantile(values: list[float], share: float) -> float:
    held = sorted(values)
    return held[min(len(held) - 1, int(share * len(held)))] if held else float("nan")


async def drive(url: str, count: int, seconds: float, every_s: float, seed: int, left_alone: frozenset[str]) -> dict:
    """Open the tabs over the first tenth of the time, let them act, and tell what they saw."""
    until = time.monotonic() + seconds
    tabs = [Tab(url, random.Random(seed + number), left_alone) for number in range(count)]

    async def begin(number: int, tab: Tab) -> None:
        await asyncio.sleep(seconds / 10 * number / count)
        await tab.live(until, every_s)

    await asyncio.gather(*(begin(number, tab) for number, tab in enumerate(tabs)))
    took = [one for tab in tabs for one in tab.took]
    told = {}
    for kind in ("first", "page", "widget"):
        values = [s for k, _, s in took if k == kind]
        told[kind] = {"count": len(values), "p50_s": quantile(values, 0.5), "p95_s": quantile(values, 0.95),
                      "worst_s": max(values, default=0.0)}
    acted = [s for k, _, s in took if k != "first"]
    slowest = sorted(((round(s, 2), f"{k} {what}") for k, what, s in took if k != "first"), reverse=True)[:10]
    errors = [error for tab in tabs for error in tab.errors]
    return {"tabs": count, "seconds": seconds, "actions": len(acted), "p50_s": quantile(acted, 0.5), "p95_s": quantile(acted, 0.95),
            "p99_s": quantile(acted, 0.99), "worst_s": max(acted, default=0.0), "by_kind": told, "slowest": slowest, "errors": len(errors),
            "first_errors": sorted(set(errors))[:10]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--tabs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two actions of a tab")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mix", choices=("look", "all"), default="look")
    chosen = parser.parse_args(arguments)
    alone = AFRESH if chosen.mix == "look" else frozenset()
    print(json.dumps(asyncio.run(drive(chosen.url, chosen.tabs, chosen.seconds, chosen.every, chosen.seed, alone))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
