"""The log of frozen predictions as pages read it, with its grades and its track record: anew only once it has grown or been graded."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import streamlit as st

from core.paper.grades import Grades, grade
from core.paper.predictions import Logged, track_record
from core.sextant import Sextant
from data.market import HOUR_MS
from pages.ui.session import kept, workbench


def version(sextant: Sextant) -> tuple[str, ...]:
    """Another value once a prediction was written or graded."""
    heads = sextant.paper_ledger.heads() if sextant.paper_ledger.path.exists() else {}
    return (str(sextant.settings.home), str(sextant.world), *(heads.get(table, "") for table in ("predictions", "settlements")))


@st.cache_resource(ttl=600, max_entries=2, show_spinner=False)
def _rows(of: tuple[str, ...]) -> list[Logged]:
    return workbench().log.rows()


def rows(sextant: Sextant) -> list[Logged]:
    """Every prediction, in the order in which they were made."""
    return _rows(version(sextant))


def content(sextant: Sextant, chosen: Sequence[Logged]) -> tuple[Hashable, ...]:
    """What a figure or table of these rows depends on."""
    return (version(sextant), len(chosen), hash(tuple(r.id for r in chosen)))


def grades(sextant: Sextant, chosen: Sequence[Logged]) -> Grades:
    """How these predictions came out together."""
    return kept(lambda: grade(list(chosen)), "grades", *content(sextant, chosen))


def record(sextant: Sextant, chosen: Sequence[Logged]) -> list[dict[str, Any]]:
    """The track record of these predictions by model, regime and period; periods end now, to the hour."""
    now = sextant.clock.now_ms()
    return kept(lambda: track_record(chosen, now), "track record", now // HOUR_MS, *content(sextant, chosen))
