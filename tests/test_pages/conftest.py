"""A real server and a real browser for the pages, and the app without either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.jobs import Jobs
from core.works import works
from pages.ui import session
from tests.serving import CHROMIUM_ARGUMENTS, ROOT, Server, chromium_path, serving, settled
from tests.test_pages.driving import OWNER

# 404s of a deep link's relative probes, and the one message a server that was just started gives a deep link (decisions.md 38)
HARMLESS = ("_stcore/health", "_stcore/host-config", "The page that you have requested does not seem to exist")


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """Headless Chromium. Skips where there is none; CI must have it. It ends with its file: while its driver lives, an event loop runs in
    this process, and no asynchronous test after it could start one."""
    path = chromium_path()
    if path is None:
        assert not os.environ.get("CI"), "CI needs Chromium: apt-get install chromium"
        pytest.skip("no Chromium on this computer (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def simulated_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as a newcomer meets it: nothing stored, nothing reachable."""
    with serving(tmp_path_factory.mktemp("simulated") / "home") as server:
        yield server


@pytest.fixture
def visit(chromium) -> Iterator[Callable]:
    """Open a page and wait until its script has run; fails on page errors and on console errors that are not harmless."""
    contexts, problems = [], []

    def go(url: str, *, heading: str, width: int = 1280, dark: bool = False, wait_s: int = 60):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
                                       locale="tr-TR", timezone_id="Europe/Istanbul")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.on("console", lambda message: problems.append(f"{message.text} {message.location.get('url', '')}")
                if message.type == "error" and not any(h in message.location.get("url", "") + message.text for h in HARMLESS) else None)
        page.goto(url)
        page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=wait_s * 1000)
        settled(page, wait_s)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for a file of tests: what one test computes or stores, the next finds, as between two starts of the app."""
    return tmp_path_factory.mktemp("shared") / "home"


@pytest.fixture
def bare_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The app in this process, nothing of it kept from before; whose browser knows the owner's password."""
    monkeypatch.chdir(ROOT)
    st.cache_resource.clear()
    st.cache_data.clear()
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    test.session_state["owner"] = OWNER
    yield test
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def owned_app(bare_app: AppTest, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The app on the home of the file, its owner signed in."""
    monkeypatch.setenv("SEXTANT_HOME", str(shared_home))
    monkeypatch.setenv("SEXTANT_NETWORK", "off")
    monkeypatch.setenv("SEXTANT_OWNER_PASSWORD", OWNER)
    return bare_app


@pytest.fixture
def jobs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs in this process the moment it is started, so that nothing has to be waited for."""
    monkeypatch.setattr(Jobs, "_spawn", lambda jobs, number: jobs.run(number, works(session.workbench())))
