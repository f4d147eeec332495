"""A loopback HTTP server whose answers a test writes down: status, headers, body, and ways to misbehave. Counts what arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.loopback_http import QuietHandler, http_server


@dataclass(frozen=True)
class Reply:
    """`promised` is the Content-Length when it differs from the body's: the line is cut after the body."""

    body: bytes = b"{}"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    promised: int | None = None


@dataclass
class Stub:
    url: str
    answer: Callable[[str], Reply]
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.seen]


@contextmanager
def stub_server(answer: Callable[[str], Reply] | Reply) -> Iterator[Stub]:
    """`answer` gets the path with its query; `stub.seen` holds (method, path, headers)."""
    stub = Stub("", answer if callable(answer) else lambda _path: answer)

    class Handler(QuietHandler):
        wbufsize = -1  # headers and body in one packet: two would wait 40 ms for each other

        def handle_any(self) -> None:
            stub.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            reply = stub.answer(self.path)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body) if reply.promised is None else reply.promised))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.promised is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    with http_server(Handler) as stub.url:
        yield stub
