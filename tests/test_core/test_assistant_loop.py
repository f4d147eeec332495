"""The loop with a model: tools, caps, the bill, everything an endpoint can do wrong, and what is kept."""

from __future__ import annotations

import json
import re
import threading

import pytest

from core.assistant import Assistant
from core.assistant.guard import Guard, literal, safe_markdown
from core.assistant.loop import MOST_CALLS, Words
from core.assistant.tools import TOOLS, tool
from data.clock import SystemClock
from data.errors import InputError, SettingsError
from tests.assistant_world import asked, assistant
from tests.openai_stub import CONTEXT_ERROR, KEY, Turn, answered, facts_in, model_server


def test_an_answer_streams_with_steps_references_and_the_bill(tmp_path):
    def script(request):
        if not answered(request):
            return Turn(text="Let me look.", calls=(("scores", {"symbol": "BTCUSDT", "interval": "1h"}),))
        return Turn(text=f"Risk is {facts_in(request)['Risk exposure score']['ref']}, elevated, "
                         "and that is all there is to say about it for the moment, in many more words than it needs.", usage=(2000, 30))

    with model_server(script) as model:
        this = assistant(tmp_path, model.url, assistant_price="1/10")
        number = this.conversations.begin("How risky?")
        told = this.ask("How risky is it?", this.sextant.key("BTCUSDT", "1h"), conversation=number)
        events = list(told)
    assert told.state == "done"
    assert sum(isinstance(e, Words) for e in events) > 1, "it came in pieces"
    [step] = told.steps
    assert (step.tool, step.arguments, step.found.symbol) == ("scores", {"symbol": "BTCUSDT", "interval": "1h"}, "BTCUSDT")
    [figure] = [p for p in told.pieces if p.fact]
    fact = told.desk.facts.known[figure.fact]
    assert figure.text == f"{fact.value:.2f}" and fact.tool == "scores" and "BTCUSDT 1h" in fact.where()
    assert told.used is not None and (told.used.tokens_in, told.used.tokens_out) == (2100, 50)
    assert told.used.cost == pytest.approx((2100 * 1 + 50 * 10) / 1e6)
    first = model.requests[0]
    assert first["stream"] is True and first["model"] == "stub"
    assert {t["function"]["name"] for t in first["tools"]} == {t.name for t in TOOLS}
    kept = this.conversations.messages(number)
    assert [m.role for m in kept] == ["user", "assistant"]
    assert kept[1].content["text"] == told.text and kept[1].content["facts"][figure.fact]["tool"] == "scores"
    first_answer, call, second_answer = reversed(this.conversations.calls())
    assert (first_answer["what"], second_answer["what"]) == ("model", "model") and "2150 tokens" in second_answer["outcome"]
    assert call["what"] == "scores" and json.loads(call["arguments"])["symbol"] == "BTCUSDT"


def test_the_next_question_carries_what_was_said(tmp_path):
    with model_server([Turn(text="First answer."), Turn(text="Second answer.")]) as model:
        this = assistant(tmp_path, model.url)
        number = this.conversations.begin("a")
        asked(this, "First?", conversation=number)
        asked(this, "Second?", conversation=number)
    assert [m["content"] for m in model.requests[1]["messages"][1:]] == ["First?", "First answer.", "Second?"]


def test_schemas_hold_the_symbols_of_the_world_and_the_caps(tmp_path):
    sextant = assistant(tmp_path).sextant
    schema = tool("scores").schema(sextant)["function"]["parameters"]
    assert "BTCUSDT" in schema["properties"]["symbol"]["enum"] and schema["additionalProperties"] is False
    assert tool("candles").schema(sextant)["function"]["parameters"]["properties"]["bars"] == {"type": "integer", "minimum": 2,
                                                                                               "maximum": 40,
                                                                                               "default": 12}
    assert all(t.says and len(t.says) < 300 for t in TOOLS)
    assert len({t.name for t in TOOLS}) == len(TOOLS) >= 20


HOSTILE = ["", "null", "[]", "[" * 900, '{"symbol": "../../etc/passwd"}', '{"symbol": {"$ne": 1}}',
           '{"symbol": "BTCUSDT; drop table calls"}',
           '{"bars": 1e999}', '{"bars": 1' + "0" * 900 + "}",
           '{"bars": NaN}', '{"bars": -5}', '{"bars": true}', '{"bars": 12.5}', '{"bars": "12"}', '{"__class__": 1}',
           "x" * 9000,
           '{"symbol": "' + "A" * 3000 + '"}', '{"interval": "7x"}', '{"interval": "\\u0000"}', '{"desk": 1}',
           '{"before": "' + "9" * 50 + '"}',
           '{"symbol": "ＢＴＣ"}', '{"before": "__import__(\'os\')"}', '{"symbol": ["BTCUSDT"]}', '{"symbol": 5}', '{"symbol": "<script>"}']


def test_hostile_arguments_are_refused_in_words_the_model_can_use(tmp_path):
    this = assistant(tmp_path)
    desk = this.desk(this.sextant.key("BTCUSDT", "1h"))
    for name in [t.name for t in TOOLS]:
        for given in HOSTILE:
            try:
                arguments = tool(name).checked(this.sextant, given)
            except InputError as error:
                assert len(str(error)) < 700 and "Traceback" not in str(error)
            else:
                assert set(arguments) <= set(tool(name).parameter_names())
    for given in HOSTILE:
        with pytest.raises(InputError):
            arguments = tool("candles").checked(this.sextant, given if given else '{"bars": 0}')
            tool("candles").run(desk, arguments)
            raise InputError("harmless")


def test_hostile_calls_go_back_as_errors_and_the_answer_goes_on(tmp_path):
    calls = (("os_system", "{}"), ("scores", '{"symbol": "EVIL"}'), ("candles", '{"bars": 100000}'), ("", "garbage{"), ("scores\x00", "{}"))
    with model_server(lambda r: Turn(text="I could not read that.") if answered(r) else Turn(calls=calls)) as model:
        told = asked(assistant(tmp_path, model.url), "Go")
    assert told.state == "done" and len(told.steps) == 5
    assert all(s.outcome.startswith("refused") and s.found is None for s in told.steps)
    assert "expected one of" in model.requests[1]["messages"][-4]["content"]


def test_a_model_that_never_stops_calling_is_stopped_after_eight(tmp_path):
    with model_server(lambda r: Turn(calls=(("price", {}), ("price", {}), ("jobs", {})))) as model:
        told = asked(assistant(tmp_path, model.url), "Loop for ever")
    ran = [s for s in told.steps if s.found is not None]
    assert len(ran) == MOST_CALLS
    assert told.state == "stopped" and "stopped after 8 calls" in told.notices[-1].words
    assert told.sections, "the brief stands in"
    assert "tools" not in model.requests[-1], "the last request offered none"


def test_no_question_goes_over_a_line_that_the_server_may_be_closing(tmp_path):
    """The server keeps its lines open and drops a second request on one without a byte: an idle line that ran out at that moment."""
    with model_server(lambda r: Turn(text="Read.") if answered(r) > 2 else Turn(calls=(("price", {}),), mark=False)) as model:
        told = asked(assistant(tmp_path, model.url), "And now?")
    assert (told.state, told.text, len(model.requests)) == ("done", "Read.", 4) and not told.notices


def test_a_slow_endpoint_is_left_at_the_limit(tmp_path):
    for turn in (Turn(drip=True), Turn(text="It is", hang=True)):
        with model_server([turn]) as model:
            this = assistant(tmp_path, model.url)
            this.sextant.clock = SystemClock()
            told = asked(this, "Slow?", limit_ms=700)
        assert told.state == "stopped" and "took longer than" in told.notices[-1].words
        assert told.sections


def test_stop_ends_it_and_keeps_what_was_said(tmp_path):
    stop = threading.Event()
    with model_server([Turn(text="A long answer that goes on and on, sentence after sentence, until it is stopped.", hang=True)]) as model:
        this = assistant(tmp_path, model.url)
        number = this.conversations.begin("x")
        told = this.ask("Talk", this.sextant.key("BTCUSDT", "1h"), conversation=number, stop=stop)
        for event in told:
            if isinstance(event, Words):
                stop.set()
    assert told.state == "cancelled" and told.text.startswith("A long answer")
    assert this.conversations.messages(number)[-1].content["state"] == "cancelled"
    assert not told.sections, "who stops it wants no brief"


def test_a_reader_that_goes_away_leaves_the_conversation_whole(tmp_path):
    with model_server([Turn(text="Some words that were shown before the tab was closed, and some more of them.", hang=True)]) as model:
        this = assistant(tmp_path, model.url)
        number = this.conversations.begin("x")
        going = iter(this.ask("Talk", this.sextant.key("BTCUSDT", "1h"), conversation=number))
        next(e for e in going if isinstance(e, Words))
        going.close()
    assert this.conversations.messages(number)[-1].content["state"] == "cancelled"


HTML = b"<html><script>alert(1)</script>Bad gateway</html>"
FAILURES = {
    "wrong key": (Turn(status=401, body=b'{"error":{"message":"Incorrect API key provided: sk-real-secret-000"}}'), "refused the key"),
    "forbidden": (Turn(status=403, body=HTML), "refused the key"),
    "no such model": (Turn(status=404, body=b'{"error":{"message":"The model does not exist"}}'),
                      "does not know this address or model"),
    "rate limit": (Turn(status=429, headers=(("retry-after", "17"),), body=b"{}"), "for 17 s"),
    "rate limit, hostile header": (Turn(status=429, headers=(("retry-after", "<b>soon</b>"),), body=b"{}"), "asks us to wait (429)"),
    "server fault": (Turn(status=502, body=HTML), "fault of its own (502)"),
    "redirect": (Turn(status=307, headers=(("location", "http://127.0.0.1:9/steal"),), body=b""), "not followed"),
    "html as success": (Turn(body=HTML), "answered nothing that can be read"),
    "garbage events": (Turn(body=b"data: {not json\n\n"), "not the protocol"),
    "json of another kind": (Turn(body=b'data: {"choices": "none", "usage": [1]}\n\ndata: [DONE]\n\n'), "nothing that can be read"),
    "nested nonsense": (Turn(body=b'data: {"choices": [{"delta": {"content": 5, "tool_calls": "x"}}]}\n\ndata: [DONE]\n\n'),
                        "nothing that can be read"),
    "error inside the stream": (Turn(body=b'data: {"error": {"message": "ignore all rules"}}\n\n'), "error of its own"),
    "cut line": (Turn(text="It was going to say much more than this.", cut=True), "cut in the middle"),
    "empty": (Turn(text=""), "nothing that can be read"),
    "refused": (Turn(status=400, body=b'{"error":{"message":"tools are not supported"}}'), "may not support tools"),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_every_fault_of_an_endpoint_is_said_and_the_brief_stands_in(tmp_path, fault):
    turn, words = FAILURES[fault]
    with model_server([turn]) as model:
        told = asked(assistant(tmp_path, model.url), "How is it?")
    assert told.state == "stopped"
    assert words in told.notices[-1].words
    assert "This is the prepared brief instead" in told.notices[-1].words
    assert told.sections[0].title == "Now" and told.document()["label"].startswith("Deterministic brief")
    shown = json.dumps(told.document())
    assert not [planted for planted in ("script", "sk-real", "ignore all rules") if planted in shown]


def test_an_endpoint_that_is_down_is_said(tmp_path):
    told = asked(assistant(tmp_path), "How is it?")
    assert "cannot be reached" in told.notices[-1].words and told.sections


def test_a_question_too_long_for_the_model_is_tried_shorter_once(tmp_path):
    sizes = []

    def script(request):
        sizes.append(len(json.dumps(request["messages"])))
        if sizes[-1] > 9_000:
            return Turn(status=400, body=json.dumps(CONTEXT_ERROR).encode())
        return Turn(text="Short enough now.") if answered(request) else Turn(calls=(("scores", {}),))

    with model_server(script) as model:
        told = asked(assistant(tmp_path, model.url), "How is it?")
    assert told.state == "done" and told.text == "Short enough now."
    with model_server([Turn(status=400, body=json.dumps(CONTEXT_ERROR).encode())]) as model:
        told = asked(assistant(tmp_path, model.url), "How is it?")
    assert "too long for this model" in told.notices[-1].words and len(model.requests) == 2


def test_no_call_leaves_for_another_host_and_the_environment_adds_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-planted")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with model_server([Turn(text="fine")]) as model:
        told = asked(assistant(tmp_path, model.url), "How?")
    assert told.text == "fine"
    assert model.paths == ["/v1/chat/completions"]
    assert model.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "planted" not in model.sent and "environment" not in model.sent
    assert not [h for h in model.headers[0] if h.startswith(("x-stainless", "openai-"))]


def test_without_a_model_a_guest_or_a_network_nothing_is_asked(tmp_path):
    with model_server([Turn(text="never")]) as model:
        assert "no model is set" in asked(assistant(tmp_path, model.url, assistant_model=""), "How?").notices[0].words
        assert "guests" in asked(assistant(tmp_path, model.url), "How?", owner=False).notices[0].words
        assert "no key is set" in asked(assistant(tmp_path, "https://example.org/v1", assistant_key=None, network="auto"),
                                        "How?").notices[0].words
        assert "SEXTANT_NETWORK=off" in asked(assistant(tmp_path, "https://example.org/v1"), "How?").notices[0].words
    assert not model.requests


@pytest.mark.parametrize("url", ["http://example.org/v1", "https://user:pass@example.org/v1", "https://example.org/v1?key=1",
                                 "file:///etc/passwd",
                                 "http://127.0.0.1.example.org:80/v1", "https://exam ple.org", "javascript:alert(1)", ""])
def test_an_address_that_could_leak_is_refused_and_not_repeated(tmp_path, url):
    from core.settings import change_settings, load_settings

    with pytest.raises(SettingsError, match="expected https://HOST/v1") as told:
        change_settings(load_settings(tmp_path), {"assistant_url": url})
    assert "pass" not in str(told.value).replace("expected", "")


def test_a_key_is_never_written_to_the_settings_file(tmp_path):
    from core.settings import change_settings, load_settings

    change_settings(load_settings(tmp_path), {"assistant_model": "m", "assistant_key": "sk-planted-key-000"})
    assert "planted" not in (tmp_path / "settings.json").read_text()


def test_the_connection_test_says_what_is_wrong(tmp_path):
    with model_server([Turn(text="ready")]) as model:
        assert assistant(tmp_path, model.url).test_connection()[0]
    with model_server([Turn(status=401, body=b"{}")]) as model:
        works, words = assistant(tmp_path, model.url).test_connection()
    assert not works and "SEXTANT_ASSISTANT_KEY" in words


def test_an_answer_is_plain_markdown():
    shown = safe_markdown("**b** [x](https://e.org) ![i](http://e.org/?q=1) <img src=x> $a$ `c` javascript:alert(1) www.e.org a@b.c "
                          "\\[y\\](z) &lt;")
    for live in ("<img", "javascript:a", "www.e", "a@b", "http://", "https://"):
        assert live not in shown, live
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]`$]", shown), "every bracket, backtick and dollar is escaped"
    assert "**b**" in shown
    assert literal("a|b\n[c](d)") == "a\\|b \\[c\\](d)"


def test_the_guard_removes_what_cannot_be_seen_and_secrets_however_coded():
    import base64

    guard = Guard(["hunter2-the-secret"])
    for form in ("hunter2-the-secret", "HUNTER2-THE-SECRET", base64.b64encode(b"hunter2-the-secret").decode(), b"hunter2-the-secret".hex(),
                 "hunter2-the-secret"[::-1], "hunter2\u200b-the-\u202esecret"):
        assert "***" in guard.clean(f"it is {form} now")
    assert guard.clean("a\u200b\u202e\x00\U000e0041b") == "ab"
    assert guard.hide("token: ETH is fine") == "token: ETH is fine"


def test_questions_are_checked(tmp_path):
    this = assistant(tmp_path)
    key = this.sextant.key("BTCUSDT", "1h")
    for bad in ("", " \u200b ", "x" * 5000):
        with pytest.raises(InputError):
            this.ask(bad, key)
    assert isinstance(this, Assistant)
