"""The three pages in a real browser: painted, complete, without errors, in both themes and on a phone."""

from __future__ import annotations

import pytest

from tests.serving import settled

pytestmark = pytest.mark.browser

PAGES = [("", "Overview"), ("/analysis?symbol=ETHUSDT&interval=1h", "Analysis"), ("/score-lab", "Score lab"),
         ("/signals", "Signals"), ("/backtest", "Backtest"), ("/models", "Models"), ("/data", "Data"),
         ("/paper", "Paper trading"), ("/history", "History"), ("/settings", "Settings")]


def overflow(page) -> int:
    """How many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


FORMS = [(1280, False), (1280, True), (420, False), (420, True)]
PAINTED = [(path, heading, width, dark) for path, heading in PAGES
           for width, dark in (FORMS if heading in ("Overview", "Analysis", "Data") else FORMS[::3])]


@pytest.mark.parametrize(("path", "heading", "width", "dark"), PAINTED, ids=[f"{h}-{w}-{d}" for _, h, w, d in PAINTED])
def test_page_is_painted(simulated_server, visit, path, heading, dark, width):
    page = visit(simulated_server.url + path, heading=heading, dark=dark, width=width)
    assert page.locator('[data-testid="stException"]').count() == 0
    page.get_by_text("SIMULATED ·").filter(visible=True).first.wait_for()
    assert page.locator('[data-testid="stAlertContentError"]').count() == 0
    assert overflow(page) <= 1
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert background == ("rgb(14, 19, 32)" if dark else "rgb(251, 251, 253)")


def test_overview_scores_all_twelve_symbols(simulated_server, visit):
    page = visit(simulated_server.url, heading="Overview")
    page.get_by_text("Scores side by side").wait_for(timeout=60_000)
    page.get_by_test_id("stDataFrame").wait_for()
    for what in ("modules", "composites"):
        heat = page.get_by_role("figure", name=f"Heat map of symbols by {what}")
        heat.locator("text", has_text="TRXUSDT").first.wait_for()
        text = heat.inner_text()
        assert all(symbol in text for symbol in ("BTCUSDT", "TRXUSDT", "DOGEUSDT"))


def test_analysis_opens_every_module_tab(simulated_server, visit):
    page = visit(simulated_server.url + "/analysis?symbol=SOLUSDT&interval=4h", heading="Analysis")
    assert page.get_by_role("heading", name="SOLUSDT").count() >= 1
    for letter in "BCDEFGHIJA":
        page.get_by_role("tab", name=f"{letter} ·").click()
        settled(page)
        page.get_by_text("How is this computed?").first.wait_for(timeout=60_000)
        assert page.locator('[data-testid="stAlertContentError"]').count() == 0


def test_the_symbol_switcher_writes_the_address(simulated_server, visit):
    page = visit(simulated_server.url + "/analysis", heading="Analysis")
    page.locator('[data-testid="stSidebar"]').get_by_role("combobox").first.click()
    page.get_by_role("option", name="LTCUSDT").click()
    settled(page)
    page.get_by_role("heading", name="LTCUSDT").wait_for(timeout=30_000)
    assert "symbol=LTCUSDT" in page.url


def test_html_in_the_address_is_shown_as_text_or_ignored(simulated_server, visit):
    page = visit(simulated_server.url + "/analysis?symbol=<img src=x onerror=alert(1)>&interval=9q&market=moon", heading="Analysis")
    assert page.locator("img[src='x']").count() == 0
    assert page.locator('[data-testid="stException"]').count() == 0


def test_a_newcomer_imports_a_file_and_switches_to_it(tmp_path, visit):
    """From nothing to real data by upload, on a server of its own."""
    from tests.serving import serving

    rows = ["time;open;high;low;close;volume"]
    rows += [f"2024-01-{1 + h // 24:02d} {h % 24:02d}:00:00;{100 + h},5;{102 + h},5;{99 + h},5;{101 + h},5;{5 + h}" for h in range(72)]
    rows[40] = "2024-01-02 15:00:00;1,5;NaN;1;1;1"
    path = tmp_path / "XYZUSDT-1h.csv"
    path.write_text("\r\n".join(rows))
    with serving(tmp_path / "home") as server:
        page = visit(server.url, heading="Overview")
        page.get_by_test_id("stSidebar").get_by_role("link", name="Data").click()
        page.get_by_role("heading", name="Data", exact=True).wait_for()
        settled(page)
        page.locator('input[type="file"]').set_input_files(str(path))
        page.get_by_text("XYZUSDT-1h.csv").first.wait_for()
        page.get_by_role("combobox", name="Market").click()
        page.get_by_role("option", name="spot").click()
        page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
        page.get_by_text("71 candles added").wait_for(timeout=30_000)
        assert page.get_by_text("lines or files were not read").is_visible()
        page.get_by_role("button", name="Show the real data (1 series)").click()
        page.get_by_text("You are looking at real data").wait_for(timeout=30_000)
        page.get_by_text("IMPORTED ·").filter(visible=True).first.wait_for(timeout=30_000)
        assert page.get_by_text("SIMULATED ·").count() == 0
        page.context.close()   # before its server ends: a page still open would ask it for the files behind its download buttons
