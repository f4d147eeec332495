"""Alerts: what is worth one, where they go, a test, and what has not arrived. Addresses are secrets: counted, never shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import streamlit as st
from pydantic import SecretStr

from core.alerts import KINDS
from core.courier import Courier
from core.settings import origins
from core.sextant import Sextant
from pages.ui import preferences_saving as saving
from pages.ui import widgets
from pages.ui.preferences_files import PLACES
from pages.ui.session import may_write

REPORTS = {"both": "daily and weekly", "daily": "daily", "weekly": "weekly", "none": "none"}
FITS = 40  # characters of a label that a narrow screen shows
CHOSEN = tuple(kind for kind in KINDS if kind != "test")  # a test is always sent
_SCHEME = re.compile(r"([a-z]{2,12})://", re.ASCII)


def alerts(sextant: Sextant) -> None:
    """The group of settings, and what became of what was sent."""
    s = sextant.settings
    kept, levels = list(s.alert_kinds), "\n".join(s.alert_levels)
    with st.form("pf-alerts", border=False):
        st.markdown("Tell me when", help=saving.explain(s, "alert_kinds", "What is not chosen is neither kept nor sent."))
        columns = st.columns(2)
        wanted = {kind: columns[n % 2].checkbox(f"**{kind}**: {KINDS[kind]}", kind in kept, key=f"pf-kind-{kind}-{kind in kept}",
                                                help=f"{KINDS[kind]}." if len(KINDS[kind]) > FITS else None,
                                                disabled=saving.locked(s, "alert_kinds")) for n, kind in enumerate(CHOSEN)}
        a, b = st.columns(2)
        shown = round(s.alert_drawdown * 100.0, 4)
        percent = a.number_input("Drawdown, %", value=shown, step=1.0, format="%g", key=f"pf-drawdown-{shown}",
                                 disabled=saving.locked(s, "alert_drawdown"),
                                 help=saving.explain(s, "alert_drawdown", "How far below its peak the paper account is worth an alert, "
                                                                          "once a day; 0 to 100, 0: never."))
        reports = b.selectbox("Reports", list(REPORTS), index=list(REPORTS).index(s.reports), format_func=REPORTS.__getitem__,
                              key=f"pf-reports-{s.reports}", disabled=saving.locked(s, "reports"),
                              help=saving.explain(s, "reports", "What the paper account did, sent like an alert."))
        text = st.text_area("Levels", levels, key=f"pf-levels-{levels}", height=110, disabled=saving.locked(s, "alert_levels"),
                            placeholder="BTCUSDT price above 70000\nETHUSDT trend_strength below 0.4",
                            help=saving.explain(s, "alert_levels", "Crossings to wait for, one a line: SYMBOL WHAT above or below NUMBER. "
                                                                   "WHAT is price, a score's name, a module's letter, or probability "
                                                                   "LABEL."))
        pressed = saving.submit()
    if pressed:
        same = all(wanted[kind] == (kind in kept) for kind in CHOSEN)
        saving.save({"alert_kinds": kept if same else [k for k in KINDS if wanted.get(k, k in kept)],
                     "alert_drawdown": s.alert_drawdown if percent == shown else round(percent / 100.0, 6), "reports": reports,
                     "alert_levels": [line.strip() for line in re.split(r"[\n;]", text) if line.strip()]})
    _addresses(sextant)


def _addresses(sextant: Sextant) -> None:
    """Where alerts go, a test, and what still waits."""
    notify, courier = sextant.settings.notify, sextant.courier()
    place = PLACES[origins(sextant.settings)["notify"]]
    st.caption(f"Alerts always go to the console and to `logs/alerts.log`. {_counted(notify, place)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Send a test", icon=":material/send:", key="pf-alert-test", disabled=not notify or not may_write(),
                            help="To every address, now.")
        st.caption(_unsent(courier), width="content")
    if pressed and may_write():
        with st.spinner("Sending ...", show_time=False):
            problem = courier.test()
        if problem:
            st.error(widgets.plain(f"The test did not arrive everywhere: {problem}."), icon=":material/error:")
        else:
            st.success("The test arrived at every address.", icon=":material/check_circle:")


def _counted(addresses: Sequence[SecretStr], place: str) -> str:
    """How many addresses there are, by the service each is of; nothing else of them."""
    if not addresses:
        return ("No address is set: put Apprise addresses, separated by commas, into `SEXTANT_NOTIFY` (Telegram, Slack, Discord, e-mail "
                "and more).")
    names = Counter(m[1] if (m := _SCHEME.match(a.get_secret_value())) else "unreadable" for a in addresses)
    one = len(addresses) == 1
    return (f"And to {len(addresses)} address{'' if one else 'es'} of `SEXTANT_NOTIFY` ({place}): "
            f"{', '.join(f'{name} {n}' if n > 1 else name for name, n in names.items())}. {'It is' if one else 'They are'} never shown.")


def _unsent(courier: Courier) -> str:
    """What lies in the outbox, and why."""
    waiting = courier.waiting()
    if not waiting:
        return "Nothing waits to be sent."
    failed = [m for m in waiting if m["failures"]]
    words = f"{len(waiting)} message{'s' * (len(waiting) > 1)} not sent yet; the runner tries again."
    return words if not failed else words + widgets.plain(f" {len(failed)} failed so far, the newest: {failed[-1]['why']}")
