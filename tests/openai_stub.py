"""A loopback server that speaks the OpenAI protocol as a script says: streams, tool calls, errors, and every way to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.loopback_http import QuietHandler, http_server

KEY = "sk-loopback-0123456789"
CONTEXT_ERROR = {"error": {"message": "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
                           "type": "invalid_request_error", "code": "context_length_exceeded"}}


@dataclass(frozen=True)
class Turn:
    """One answer. `calls` are (tool, arguments), arguments as an object or as raw text; `chunk` characters go into one event.

    `body` replaces the stream; `cut` breaks the line after the first events; `hang` waits before the end until the server is closed;
    `drip` sends comments for ever and nothing else; `pace` seconds lie between events, for watching; without `mark` the stream just ends.
    """

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    cut: bool = False
    hang: bool = False
    drip: bool = False
    pace: float = 0.0
    chunk: int = 7
    usage: tuple[int, int] | None = (100, 20)
    cost: float | None = None
    mark: bool = True


Script = Callable[[dict[str, Any]], Turn]


@dataclass
class Model:
    """What the server saw: requests as JSON, their headers and paths."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def sent(self) -> str:
        """Everything that reached the model, as one text."""
        return json.dumps([self.requests, self.headers, self.paths], ensure_ascii=False)


def facts_in(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every value of the tool results in a request, by the name it was given; of the same name the newest."""
    found = {}
    for message in request["messages"]:
        if message["role"] == "tool":
            with suppress(ValueError):
                document = json.loads(message["content"])
                for row in document.get("rows", ()):
                    for value in row.get("values", ()):
                        found[value["is"]] = value
    return found


def answered(request: dict[str, Any]) -> int:
    """How many tool results a request holds."""
    return sum(m["role"] == "tool" for m in request["messages"])


def _events(turn: Turn) -> Iterator[bytes]:
    def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [
            {"index": 0, "delta": delta, "finish_reason": finish}]} | more).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    for at in range(0, len(turn.text), turn.chunk):
        yield event({"content": turn.text[at : at + turn.chunk]})
    for n, (name, arguments) in enumerate(turn.calls):
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        yield event({"tool_calls": [{"index": n, "id": f"call_{name}_{n}", "type": "function",
                                     "function": {"name": name, "arguments": ""}}]})
        for at in range(0, len(raw), 9):
            yield event({"tool_calls": [{"index": n, "function": {"arguments": raw[at : at + 9]}}]})
    yield event({}, "tool_calls" if turn.calls else "stop")
    if turn.usage is not None:
        bill = {"prompt_tokens": turn.usage[0], "completion_tokens": turn.usage[1], "total_tokens": sum(turn.usage)}
        yield b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [],
                                      "usage": bill | ({} if turn.cost is None else {"cost": turn.cost})}).encode() + b"\n\n"
    if turn.mark:
        yield b"data: [DONE]\n\n"


@contextmanager
def model_server(script: Script | Sequence[Turn]) -> Iterator[Model]:
    """Serve a script: a function of the request, or turns one after the other (the last one again and again)."""
    model = Model("")
    turns = None if callable(script) else list(script)

    class Handler(QuietHandler):
        taken = False

        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.taken:  # as a server that closes a line it thought idle, at the very moment the next question is on it
                self.close_connection = True
                return
            self.taken = True
            request = json.loads(body)
            model.requests.append(request)
            model.headers.append({k.lower(): v for k, v in self.headers.items()})
            model.paths.append(self.path)
            turn = script(request) if callable(script) else turns[min(len(model.requests), len(turns)) - 1]
            try:
                self._answer(turn)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_GET(self) -> None:  # noqa: N802
            model.paths.append(self.path)
            self.send_error(404)

        def _answer(self, turn: Turn) -> None:
            self.send_response(turn.status)
            for name, value in turn.headers:
                self.send_header(name, value)
            if turn.body is not None:
                self.send_header("content-length", str(len(turn.body)))
                self.end_headers()
                self.wfile.write(turn.body)
                return
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while turn.drip and not model.closing.wait(0.02):
                self._chunk(b": still here\n\n")
            events = list(_events(turn))
            for n, event in enumerate(events):
                if turn.cut and n == max(2, len(events) // 2):
                    self.close_connection = True  # no last chunk: the line is cut
                    return
                if turn.hang and n == len(events) - 1:
                    model.closing.wait(20)
                self._chunk(event)
                if turn.pace:
                    model.closing.wait(turn.pace)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    with http_server(Handler) as url:
        model.url = f"{url}/v1"
        try:
            yield model
        finally:
            model.closing.set()
