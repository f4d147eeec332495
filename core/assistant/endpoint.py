"""The one way out: chat completions of the endpoint in the settings, streamed, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from core.settings import Settings

CONNECT_S = 8.0
READ_S = 30.0  # of silence
MOST_CALL_CHARACTERS = 8_000
HEADERS = {"authorization", "content-type", "content-length", "accept", "host", "user-agent", "accept-encoding", "connection"}


class EndpointError(Exception):
    """The endpoint gave no answer. `str` is what the user reads, `kind` a word for the log; `smaller`: a shorter question may work."""

    def __init__(self, words: str, kind: str, *, smaller: bool = False) -> None:
        super().__init__(words)
        self.kind, self.smaller = kind, smaller


@dataclass(frozen=True)
class Delta:
    """One step of a stream: text, parts of tool calls (index, id, name, arguments), and the bill where it is sent."""

    text: str = ""
    calls: tuple[tuple[int, str, str, str], ...] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    finish: str = ""


class Endpoint:
    """Built for one question, closed after it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def host(self) -> str:
        return urlsplit(self._settings.assistant_url).hostname or ""

    def why_not(self) -> str:
        """Empty when a question can be sent, else in words why not."""
        s, local = self._settings, self.host in ("127.0.0.1", "localhost")
        if not s.assistant_model:
            return "no model is set: choose one under Settings, Assistant, or set SEXTANT_ASSISTANT_MODEL"
        if s.assistant_key is None and not local:
            return "no key is set: put it into SEXTANT_ASSISTANT_KEY, in the environment or in .env"
        if s.network == "off" and not local:
            return "the network is switched off by SEXTANT_NETWORK=off"
        return ""

    def open(self, timeout_s: float) -> Any:
        """A client that can reach this endpoint's chat completions alone: no redirect, no proxy, no header from the environment."""
        import httpx2
        import openai

        base = urlsplit(self._settings.assistant_url)
        path = base.path.rstrip("/") + "/chat/completions"

        def fenced(request: httpx2.Request) -> None:
            url = request.url
            port = url.port or (443 if url.scheme == "https" else 80)
            if (request.method, url.scheme, url.host, port, url.path) != (
                    "POST", base.scheme, base.hostname, base.port or (443 if base.scheme == "https" else 80), path):
                raise EndpointError("The assistant was about to send something elsewhere and was stopped.", "fence")
            for name in [n for n in request.headers if n.lower() not in HEADERS]:
                del request.headers[name]

        http = httpx2.Client(trust_env=False, follow_redirects=False, event_hooks={"request": [fenced]}, verify=base.scheme == "https",
                             limits=httpx2.Limits(max_keepalive_connections=0),  # a server may close an idle line as we take it again
                             timeout=httpx2.Timeout(min(READ_S, timeout_s), connect=min(CONNECT_S, timeout_s)))
        key = self._settings.assistant_key
        return openai.OpenAI(api_key=key.get_secret_value() if key else "none", base_url=self._settings.assistant_url, http_client=http,
                             max_retries=0,
                             organization="", project="")

    def stream(self, client: Any, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Iterator[Delta]:
        """The answer as it comes.

        Raises
        ------
        EndpointError
            For everything that can go wrong there, with what the user reads.
        """
        more: dict[str, Any] = {"tools": list(tools)} if tools else {}
        try:
            with client.chat.completions.create(model=self._settings.assistant_model, messages=list(messages), stream=True,
                                                stream_options={"include_usage": True}, **more) as stream:
                for chunk in stream:
                    yield _delta(chunk)
        except EndpointError:
            raise
        except Exception as error:
            raise trouble(error, self.host) from error


def _delta(chunk: Any) -> Delta:
    """What is usable of a chunk; a server may send anything."""
    usage = getattr(chunk, "usage", None)
    bill = {"tokens_in": _count(getattr(usage, "prompt_tokens", None)), "tokens_out": _count(getattr(usage, "completion_tokens", None)),
            "cost": _amount(getattr(usage, "cost", None))} if usage is not None else {}
    choices = getattr(chunk, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    delta = getattr(first, "delta", None)
    text = getattr(delta, "content", None)
    calls = []
    for call in (getattr(delta, "tool_calls", None) or [])[:32] if isinstance(getattr(delta, "tool_calls", None), list) else ():
        function, index = getattr(call, "function", None), getattr(call, "index", 0)
        calls.append((index if isinstance(index, int) and 0 <= index < 64 else 0, _text(getattr(call, "id", None)),
                      _text(getattr(function, "name", None)), _text(getattr(function, "arguments", None))))
    return Delta(_text(text, 20_000), tuple(calls), finish=_text(getattr(first, "finish_reason", None)), **bill)  # type: ignore[arg-type]


def _text(value: Any, most: int = MOST_CALL_CHARACTERS) -> str:
    return value[:most] if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6 else None


_TOO_LONG = re.compile(r"context|too long|maximum.{0,20}(?:length|tokens)|reduce the length", re.IGNORECASE)


def trouble(error: Exception, host: str) -> EndpointError:
    """What went wrong at an endpoint, in words that say what to do. Nothing that the server wrote is repeated."""
    import httpx2
    import openai

    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return EndpointError(f"{host} was silent for too long. Try again, or choose a faster model.", "timeout")
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if status in (401, 403):
            return EndpointError(f"{host} refused the key ({status}). Check SEXTANT_ASSISTANT_KEY and that it may use this model.", "key")
        if status == 404:
            return EndpointError(f"{host} does not know this address or model (404). Check SEXTANT_ASSISTANT_URL and the model's name.",
                                 "missing")
        if status == 413 or (status in (400, 422) and _TOO_LONG.search(str(error))):
            return EndpointError("The question with its results is too long for this model. Ask about less, or begin a new conversation.",
                                 "too long", smaller=True)
        if status == 429:
            wait = error.response.headers.get("retry-after", "")
            when = f" for {wait} s" if re.fullmatch(r"\d{1,4}", wait) else ""
            return EndpointError(f"{host} asks us to wait{when} (429): its rate limit or your budget is used up.", "rate limit")
        if status in (301, 302, 303, 307, 308):
            return EndpointError(f"{host} wanted to send the question elsewhere ({status}); that is not followed. Check the address.",
                                 "redirect")
        if status >= 500:
            return EndpointError(f"{host} has a fault of its own ({status}). Try again in a while.", "server")
        return EndpointError(f"{host} did not accept the question ({status}). The model may not support tools or streaming.", "refused")
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        began = isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError) or "peer closed" in str(error.__cause__ or error)
        words = f"The line to {host} was cut in the middle of the answer." if began else f"{host} cannot be reached."
        return EndpointError(f"{words} Try again, or check SEXTANT_ASSISTANT_URL.", "connection")
    if isinstance(error, openai.APIError):
        longer = bool(_TOO_LONG.search(str(error)))
        return EndpointError("The question with its results is too long for this model. Ask about less." if longer else
                             f"{host} broke off with an error of its own. Try again.", "too long" if longer else "server", smaller=longer)
    if isinstance(error, json.JSONDecodeError | ValueError | TypeError | AttributeError | KeyError | UnicodeError):
        return EndpointError(f"{host} answered something that is not the protocol. Is SEXTANT_ASSISTANT_URL an OpenAI-compatible address?",
                             "garbage")
    return EndpointError(f"{host} gave no answer ({type(error).__name__}).", "unknown")
