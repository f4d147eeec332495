"""The chat: what was said, the question under way, conversations, and what to ask."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.assistant import Assistant, Briefed, Notice, Step, Waiting, Words, slash
from core.assistant.assistant import MOST_QUESTION
from core.assistant.brief import LABEL
from core.assistant.facts import Fact
from core.assistant.guard import literal, visible
from data.errors import SextantError
from data.market import SeriesKey
from pages.ui import assistant_answer, assistant_text, widgets
from pages.ui.session import guarded, may_write, remember

OPEN = "as-conversation"
PENDING = "as-pending"
SEEN = "as-guest"  # what a guest asked in this tab
GOING = "as-going"  # the question under way in this tab
STOP_S = 3.0
MOST_SEEN = 12
AVATAR = {"user": ":material/person:", "assistant": ":material/explore:"}


def draw(assistant: Assistant, key: SeriesKey) -> None:
    """The whole chat."""
    owner, why = may_write(), assistant.why_not()
    conversation = _conversation(assistant) if owner else 0
    _head(assistant, conversation, owner=owner, why=why)
    messages = _messages(assistant, conversation, owner=owner)
    for number, role, content in messages:
        with st.chat_message(role, avatar=AVATAR.get(role)):
            assistant_answer.message(assistant, role, content, conversation=conversation, place=str(number))
    question = st.chat_input("Ask about a symbol, or type / for commands", key="as-input", max_chars=MOST_QUESTION) \
        or st.session_state.pop(PENDING, None)
    if question:
        _answer(assistant, question, key, conversation, owner=owner)
    elif not messages:
        _suggestions(key, model=owner and not why)


def ask(question: str) -> None:
    """Have a question asked at the next run: what buttons do."""
    st.session_state[PENDING] = question


# -- conversations ------------------------------------------------------------------------------------------------------


def _conversation(assistant: Assistant) -> int:
    """The open conversation, if it still exists; 0 for a new one."""
    number = int(st.session_state.get(OPEN, 0))
    if number and not any(c.id == number for c in assistant.conversations.all()):
        number = st.session_state[OPEN] = 0
    return number


def _head(assistant: Assistant, conversation: int, *, owner: bool, why: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if owner:
            if st.button("New conversation", icon=":material/add_comment:", key="as-new", disabled=not conversation):
                st.session_state[OPEN] = 0
                st.rerun()
            with st.popover("Conversations", icon=":material/forum:"):
                _list(assistant, conversation)
        if not owner:
            st.badge("Deterministic brief", icon=":material/description:", color="gray",
                     help="Guests are answered by rules; no model is asked.")
        elif why:
            st.badge("Deterministic brief", icon=":material/description:", color="orange", help=f"No language model is asked: {why}.")
        else:
            s = assistant.sextant.settings
            st.badge(s.assistant_model, icon=":material/smart_toy:", color="blue", help=f"Questions go to {s.assistant_url}.")


def _list(assistant: Assistant, conversation: int) -> None:
    kept = assistant.conversations.all()
    if not kept:
        st.caption("None yet. The first question begins one.")
        return
    for each in kept[:20]:
        a, b = st.columns([6, 1], vertical_alignment="center")
        mark = "● " if each.id == conversation else ""
        if a.button(f"{mark}{literal(each.title)}", key=f"as-open-{each.id}", help=widgets.local_text(each.changed_ms), width="stretch"):
            st.session_state[OPEN] = each.id
            st.rerun()
        if b.button("", icon=":material/delete:", key=f"as-delete-{each.id}", help="Delete this conversation. The log of calls stays."):
            if may_write():
                assistant.conversations.delete(each.id)
            st.rerun()


def _messages(assistant: Assistant, conversation: int, *, owner: bool) -> list[tuple[int, str, dict[str, Any]]]:
    if owner:
        return [(m.id, m.role, m.content) for m in assistant.conversations.messages(conversation)[-60:]] if conversation else []
    return [(n, role, content) for n, (role, content) in enumerate(st.session_state.get(SEEN, ()))]


# -- what to ask --------------------------------------------------------------------------------------------------------


def _suggestions(key: SeriesKey, *, model: bool) -> None:
    """Questions that fit what the user looks at; one from a link stands first and is asked only by a click."""
    linked = visible(st.query_params.get("ask", ""))[:300].strip()
    base = widgets.short(key.symbol)
    usual = [f"What moved {base} in the last 24 hours?", f"How risky is {base} now, and why?", "What would change the view?",
             "/brief", "/signal", "/help"] if model else ["/brief", f"/changed trend_strength {key.symbol}", "/signal", "/risk", "/quality",
                                                          "/help"]
    st.caption(f"{key.symbol} {key.interval} is in focus. Figures carry their source; what has none is marked.")
    with st.container(horizontal=True):
        for n, words in enumerate(dict.fromkeys(([linked] if linked else []) + usual)):
            st.button(literal(words), key=f"as-suggest-{n}", on_click=ask, args=(words,),
                      type="primary" if linked and n == 0 else "secondary")


# -- the question under way -----------------------------------------------------------------------------------------------


def _stop() -> None:
    """Stop the question under way, and wait until what was said is kept: this run of the script shows it."""
    told = st.session_state.get(GOING)
    if told is not None:
        told.stop.set()
        told.ended.wait(STOP_S)


def _answer(assistant: Assistant, question: str, key: SeriesKey, conversation: int, *, owner: bool) -> None:
    with st.chat_message("user", avatar=AVATAR["user"]):
        st.markdown(literal(question))
    with st.chat_message("assistant", avatar=AVATAR["assistant"]), guarded("the answer"):
        if owner and not conversation:
            conversation = st.session_state[OPEN] = assistant.conversations.begin(assistant.guard().clean(question, 80))
        if slash.is_slash(question):
            content = _command(assistant, question, key, conversation, owner=owner)
        else:
            content = _stream(assistant, question, key, conversation, owner=owner)
    if not owner:
        st.session_state[SEEN] = [*st.session_state.get(SEEN, ()), ("user", {"text": question}), ("assistant", content)][-MOST_SEEN:]
    remember(symbol=key.symbol, interval=str(key.interval), market=str(key.market))
    st.query_params.pop("ask", None)
    st.rerun()


def _command(assistant: Assistant, text: str, key: SeriesKey, conversation: int, *, owner: bool) -> dict[str, Any]:
    """A slash command: its tool, no model."""
    desk = assistant.desk(key, conversation=conversation, may_propose=owner)
    content: dict[str, Any] = {"text": "", "state": "done"}
    try:
        with st.spinner("Reading ...", show_time=False):
            command, arguments = slash.parsed(text, desk)
            if command.tool == "help":
                content["help"] = True
            elif command.tool == "brief":
                from core.assistant.brief import brief

                at = assistant.sextant.key(arguments.get("symbol", key.symbol), arguments.get("interval", key.interval), key.market)
                desk = assistant.desk(at)
                content |= _kept(desk.facts.known, [assistant_answer.section(s) for s in brief(desk)]) | {"label": LABEL}
            else:
                found = slash.run(text, desk)
                content |= _kept(desk.facts.known, [assistant_answer.section(slash.as_section(found))])
                content |= {"charts": [found.chart] if found.chart else [], "proposals": [found.proposal] if found.proposal else []}
    except SextantError as error:
        content["notices"] = [{"kind": "refused", "words": str(error)}]
    if owner:
        shown = assistant.guard().hide(text)
        assistant.conversations.add(conversation, "user", {"text": shown})
        assistant.conversations.log(conversation, "slash", shown, content["state"], 0)
        assistant.conversations.add(conversation, "assistant", content)
    return content


def _kept(facts: dict[str, Fact], sections: list[dict[str, Any]]) -> dict[str, Any]:
    return {"sections": sections, "facts": {f.id: f.document() for f in facts.values()}, "text": assistant_answer.text_of(sections)}


def _stream(assistant: Assistant, question: str, key: SeriesKey, conversation: int, *, owner: bool) -> dict[str, Any]:
    """A question to the model, drawn as it goes. Stop ends this run of the script; what was said by then is kept."""
    told = st.session_state[GOING] = assistant.ask(question, key, conversation=conversation, owner=owner)
    steps, place, notes = st.container(), st.empty(), st.container()
    wait, stop = st.empty(), st.empty()
    if owner and not assistant.why_not():
        stop.button("Stop", icon=":material/stop_circle:", key="as-stop", on_click=_stop)
    facts = told.desk.facts.known
    status = None
    going = iter(told)
    try:
        for event in going:
            if isinstance(event, Step):
                status = status or steps.status("Reading ...", expanded=False)
                status.markdown(f"{event.number}. {literal(event.tool)}{literal(assistant_answer.arguments_text(event.arguments))}: "
                                f"{literal(event.outcome)}")
                status.update(label=f"Reading: {event.tool.replace('_', ' ')}")
            elif isinstance(event, Words):
                place.markdown(assistant_text.markdown(told.pieces, facts) + " ▌")
            elif isinstance(event, Notice):
                notes.warning(literal(event.words), icon=":material/cloud_off:")
            elif isinstance(event, Briefed):
                notes.markdown(assistant_answer.section_markdown(assistant_answer.section(event.section), facts))
            elif isinstance(event, Waiting):
                wait.caption(f"Waiting for the model, {event.milliseconds // 1000} s")
            if not isinstance(event, Waiting):
                wait.empty()
    finally:
        going.close()  # type: ignore[attr-defined]
        st.session_state.pop(GOING, None)
    stop.empty()
    return told.document()
