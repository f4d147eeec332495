"""What a test does to a page without a browser: opens it, presses, turns to a tab, reads its words."""

from __future__ import annotations

from typing import TypeVar

from streamlit.testing.v1 import AppTest

OWNER = "bowsprit-under-water"  # the owner's password: words that no page says by itself
A = TypeVar("A", bound=AppTest)


def opened(app: A, page: str) -> A:
    """The page of this file, drawn."""
    app.switch_page(page).run()
    assert not app.exception
    return app


def press(app: A, key: str) -> A:
    """Press the button of this key, or the one that sends the form of this key."""
    next(b for b in app.button if b.key == key or (b.key or "").startswith(f"FormSubmitter:{key}-")).click()
    return app.run()


def tab(app: A, key: str, name: str) -> A:
    """Turn the tabs of this key to one of them."""
    app.session_state[key] = name
    app.run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    """Everything in words on the page."""
    kinds = (app.markdown, app.caption, app.subheader, app.info, app.success, app.warning, app.error)
    return " ".join(str(e.value) for kind in kinds for e in kind)


def tiles(app: AppTest) -> dict[str, str]:
    """The figures of the page by their names."""
    return {m.label: m.value for m in app.metric}
