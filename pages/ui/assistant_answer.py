"""One kept message: the answer or the brief, folded steps, charts, sources, proposals, and the bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.assistant import Assistant
from core.assistant.brief import Section
from core.assistant.claims import Piece, documents
from core.assistant.facts import Fact
from core.assistant.guard import literal
from core.assistant.proposals import Proposal
from core.assistant.references import cited, plain
from core.assistant.slash import help_text
from data.errors import SextantError
from pages.ui import assistant_text, charts_market, charts_scores, theme, widgets
from pages.ui.session import guarded, may_write


def message(assistant: Assistant, role: str, content: Mapping[str, Any], *, conversation: int, place: str) -> None:
    """A message of either side."""
    if role != "assistant":
        st.markdown(literal(str(content.get("text", ""))))
        return
    facts = {n: Fact.of(d) for n, d in dict(content.get("facts", {})).items()}
    pieces = [Piece.of(d) for d in content.get("pieces", ())]
    _steps(content)
    if pieces:
        st.markdown(assistant_text.markdown(pieces, facts))
    for notice in content.get("notices", ()):
        icon = {"cancelled": ":material/stop_circle:", "no model": ":material/description:"}.get(notice["kind"], ":material/cloud_off:")
        (st.info if notice["kind"] in ("cancelled", "no model") else st.warning)(literal(notice["words"]), icon=icon)
    if content.get("help"):
        st.markdown(help_text())
    if content.get("label"):
        st.badge("Deterministic brief", icon=":material/description:", color="gray", help=str(content["label"]))
    for part in content.get("sections", ()):
        st.markdown(section_markdown(part, facts))
    for n, chart in enumerate(content.get("charts", ())):
        with guarded("the chart"):
            _chart(assistant, chart, f"{place}-{n}")
    for number in content.get("proposals", ()):
        card(assistant, number, conversation)
    _sources([*pieces, *(Piece.of(p) for part in content.get("sections", ()) for line in part["lines"] for p in line)], facts, place)
    _bill(content.get("used"))


def section(part: Section) -> dict[str, Any]:
    """A section as it is kept."""
    return {"title": part.title, "lines": [documents(line) for line in part.lines]}


def section_markdown(part: Mapping[str, Any], facts: Mapping[str, Fact]) -> str:
    lines = [f"- {assistant_text.markdown([Piece.of(p) for p in line], facts)}" for line in part["lines"]]
    return f"**{literal(str(part['title']))}**\n\n" + "\n".join(lines)


def text_of(sections: list[dict[str, Any]]) -> str:
    """Sections as plain text: what a model reads of them later."""
    return "\n".join(f"{s['title']}: " + " ".join(plain(Piece.of(p) for p in line) for line in s["lines"]) for s in sections)


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Arguments of a call in words, a space before them; empty where there are none."""
    return "".join(f" {n} {v}," for n, v in arguments.items()).rstrip(",")


def _steps(content: Mapping[str, Any]) -> None:
    """Tool calls, folded."""
    steps = content.get("steps") or ()
    if not steps:
        return
    spent = sum(int(s.get("milliseconds", 0)) for s in steps) / 1000
    names = ", ".join(dict.fromkeys(literal(s["tool"]) for s in steps))
    with st.expander(f"{len(steps)} step{'s' if len(steps) != 1 else ''}: {names}, {spent:.1f} s",
                     icon=":material/build:"):
        for n, step in enumerate(steps, start=1):
            st.markdown(f"{n}. **{literal(step['tool'])}**{literal(arguments_text(step['arguments']))}: {literal(step['outcome'])}")
            if step.get("rows"):
                st.dataframe([{"About": row[0], "Values": row[1]} for row in step["rows"]], hide_index=True, width="stretch",
                             height=min(36 + 35 * len(step["rows"]), 260))


def _sources(pieces: list[Piece], facts: Mapping[str, Fact], place: str) -> None:
    """Every figure of the answer with what it is and where it opens."""
    used = [facts[n] for n in cited(pieces) if n in facts]
    if not used:
        return
    unbacked = sum(p.status == "unverified" for p in pieces)
    title = f"{len(used)} source{'s' if len(used) != 1 else ''}" + (f", {unbacked} unverified" if unbacked else "")
    with st.expander(title, icon=":material/link:"):
        rows = [{"Figure": f.text(), "What": f.name, "Tool": f.tool, "Symbol": f"{f.symbol} {f.interval}".strip(),
                 "As of": widgets.local_text(f.as_of_ms + 1) if f.as_of_ms else "", "Open": assistant_text.address(f)} for f in used]
        st.dataframe(rows, hide_index=True, width="stretch", key=f"as-sources-{place}", column_config={
            "Figure": st.column_config.TextColumn(pinned=True), "Open": st.column_config.LinkColumn(display_text="open", width="small")})


def _bill(used: Mapping[str, Any] | None) -> None:
    if not used:
        return
    parts = []
    if used.get("tokens_in") is not None:
        parts.append(f"{used['tokens_in']:,} tokens in, {used.get('tokens_out') or 0:,} out")
        parts.append("cost unknown: set a price below" if used.get("cost") is None else f"${used['cost']:.4f}")
    parts.append(f"{used['calls']} call{'s' if used['calls'] != 1 else ''}, {used['milliseconds'] / 1000:.1f} s")
    st.caption(literal(" · ".join(parts)))


def _chart(assistant: Assistant, chart: Mapping[str, Any], place: str) -> None:
    """A chart that the answer asked for."""
    sextant = assistant.sextant
    key, bars, what = sextant.key(chart["symbol"], chart["interval"], chart["market"]), int(chart["bars"]), str(chart["what"])
    name = f"{key.symbol} {key.interval}"
    if what == "candles":
        shown = sextant.candles(key, bars=bars)
        figure = theme.kept(lambda: charts_market.candle_chart(shown, {}, gaps=shown.gaps(), height=360), "assistant", sextant.content(key),
                            bars)
        theme.draw(figure, key=f"as-chart-{place}", file_name=f"{key.symbol}-{key.interval}", alt=f"Candles of {name}")
        st.caption(widgets.as_of_line(str(shown.provenance), int(shown.close_time[-1])))
        return
    from analysis.composites import COMPOSITES

    if what in {c.name for c in COMPOSITES}:
        line = sextant.composite_line(what, key, bars)
        times, scores = line.close_time, line.score
    else:
        track = sextant.timeline(what, key, bars)
        times, scores = track.close_time, track.score
    figure = theme.kept(lambda: charts_scores.history(times, {what.replace("_", " "): scores}, colours=(theme.ACCENT,), span=None,
                                                      height=280),
                        "assistant", what, sextant.content(key), bars)
    theme.draw(figure, key=f"as-chart-{place}", file_name=f"{key.symbol}-{what}", alt=f"{what} of {name}")


# -- proposals ------------------------------------------------------------------------------------------------------------


TITLE = {"place": "Proposed paper order", "close": "Proposed close", "job": "Proposed job", "watchlist": "Proposed change"}
STATE = {"done": ("green", ":material/check:"), "refused": ("gray", ":material/close:"), "failed": ("red", ":material/error:"),
         "expired": ("gray", ":material/timer_off:")}


def card(assistant: Assistant, number: str, conversation: int) -> None:
    """What would be done, by the server's own record, with the two buttons that decide on it."""
    proposal = assistant.proposals.get(number)
    if proposal is None:
        return
    with st.container(border=True, key=f"as-card-{number}"):
        st.markdown(f":material/approval: **{TITLE.get(proposal.kind, 'Proposal')}**")
        st.markdown(literal(proposal.words))
        if proposal.state != "open":
            colour, icon = STATE.get(proposal.state, STATE["refused"])
            st.badge(proposal.state, color=colour, icon=icon)  # type: ignore[arg-type]
            if proposal.outcome:
                st.caption(literal(proposal.outcome))
        elif may_write():
            _decide(assistant, proposal, conversation)
        else:
            st.caption("Only the owner decides on it.")


def _decide(assistant: Assistant, proposal: Proposal, conversation: int) -> None:
    left = max(0, proposal.ends_ms - assistant.sextant.clock.now_ms()) // 60_000
    with st.container(horizontal=True, vertical_alignment="center"):
        yes = st.button("Yes, do it", type="primary", icon=":material/check:", key=f"as-yes-{proposal.id}")
        no = st.button("No", key=f"as-no-{proposal.id}")
        st.caption("Nothing has been done. " + (f"It can be confirmed for {left + 1} more minutes." if left else "It ends in a minute."))
    if not (yes or no) or not may_write():
        return
    try:
        if yes:
            with st.spinner("Doing it ...", show_time=False):
                outcome = assistant.proposals.confirm(assistant.sextant, proposal.id, conversation)
            assistant.conversations.log(conversation, "confirmed", proposal.id, outcome, 0)
            st.toast(outcome)
        else:
            assistant.proposals.refuse(proposal.id, conversation)
            assistant.conversations.log(conversation, "refused", proposal.id, "", 0)
    except SextantError as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    st.rerun()
