"""The HTTP face: the verbs of the command line as routes, the same objects as `--json` (decisions.md 35).

Its own port on 127.0.0.1. Reading is free to whoever is on this computer; what changes state needs the token. An answer outside 2xx is
`{"error": words}`: 400 a wrong request, 403 no token, 404 nothing of that name, 409 damaged or locked state, 503 a source is away.
"""

from __future__ import annotations

import argparse
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Body, Depends, FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from core.faces.cli import CommandParser, command_table
from core.logbook import mask, unexpected
from data.errors import DamagedState, DataError, InputError, LockHeld, SextantError, SourceError

if TYPE_CHECKING:
    from core.sextant import Sextant

HOSTS = ["127.0.0.1", "localhost"]
LARGEST_BODY = 64 << 10
SymbolPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9]{2,20}$", description="e.g. BTCUSDT", examples=["BTCUSDT"])]
Interval = Annotated[str, Query(pattern=r"^\d{1,2}[mhdwM]$", description="1m 5m 15m 1h 4h 1d ...")]
Market = Annotated[Literal["spot", "perp"], Query(description="spot or perp")]
At = Annotated[str | None, Query(max_length=40, description="what was known at this time, ISO 8601 UTC")]


class Refused(Exception):
    """An answer outside 2xx."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def said(sextant: Sextant, word: str, arguments: list[str]) -> dict[str, Any]:
    """What a command prints with `--json`."""
    command = command_table()[word]
    parser = CommandParser(prog=f"python -m core {word}", add_help=False)
    parser.add_argument("--json", action="store_true")
    command.arguments(parser)
    document, _ = command.run(sextant, parser.parse_args([*arguments, "--json"]))
    return {k: v for k, v in document.items() if k != "exit"}


@contextmanager
def answered() -> Iterator[None]:
    """Errors of the tree become their status; anything else is logged under a code and is still an answer."""
    try:
        yield
    except InputError as error:
        raise Refused(400, str(error)) from None
    except (DamagedState, LockHeld) as error:
        raise Refused(409, str(error)) from None
    except DataError as error:
        raise Refused(404, str(error)) from None
    except SourceError as error:
        raise Refused(503, str(error)) from None
    except SextantError as error:
        raise Refused(400, str(error)) from None
    except (argparse.ArgumentError, SystemExit) as error:
        raise Refused(400, f"the request cannot be read: {error}") from None
    except Exception as error:  # noqa: BLE001 - the last stop before a client: a code instead of a traceback
        raise Refused(500, f"something failed ({unexpected(error)}); details are in the log") from None


def build_api(sextant: Sextant) -> FastAPI:
    """The application over one facade."""
    api = FastAPI(title="Sextant", version="0.1.0", docs_url="/docs", redoc_url=None,
                  description="Analyst's workbench for crypto markets. Paper only: no route can send an order to an exchange.")
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)  # a page in a browser cannot reach it under another name
    token = sextant.settings.api_token

    def owner(authorization: Annotated[str, Header(max_length=300)] = "") -> None:
        if token is None:
            raise Refused(403, "nothing can be changed: no token is set. Set SEXTANT_API_TOKEN and start the server again")
        given = authorization.removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            raise Refused(403, "expected the word Bearer and the token of SEXTANT_API_TOKEN in the header Authorization")

    @api.exception_handler(Refused)
    def _refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": mask(error.words)}, error.status)

    @api.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first.get("loc", ())[1:]) or "request"
        return JSONResponse({"error": f"{where[:60]}: {first.get('msg', 'not what was expected')}"[:300]}, 400)

    @api.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        words = {404: "there is no such route; /docs lists them", 405: "this route does not take that method"}
        return JSONResponse({"error": words.get(error.status_code, str(error.detail)[:200])}, error.status_code)

    @api.middleware("http")
    async def _small(request: Request, go_on: Callable[[Request], Any]) -> Any:
        if "transfer-encoding" in request.headers:
            return JSONResponse({"error": "a body needs its Content-Length"}, 411)
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):  # a superscript two is a digit, and no number
            return JSONResponse({"error": "Content-Length: expected a number of bytes"}, 400)
        if len(length) > 12 or int(length) > LARGEST_BODY:
            return JSONResponse({"error": f"the body is larger than {LARGEST_BODY >> 10} KiB"}, 413)
        return await go_on(request)

    def answer(word: str, *arguments: str) -> dict[str, Any]:
        with answered():
            return said(sextant, word, list(arguments))

    _reading(api, answer)
    _series(api, answer)
    _changing(api, answer, sextant, Depends(owner))
    return api


Answer = Callable[..., dict[str, Any]]


def _moment(at: str | None) -> list[str]:
    return [] if at is None else [f"--at={at}"]


def _reading(api: FastAPI, answer: Answer) -> None:
    """Routes that need no series."""

    @api.get("/health", summary="versions, sources, what is degraded")
    def health() -> dict[str, Any]:
        return answer("doctor")

    @api.get("/metrics", summary="figures of the newest stored backtest, or of a run")
    def metrics(run: Annotated[str, Query(pattern=r"^[0-9a-f]{0,40}$", description="a run id; empty: the newest")] = "") -> dict[str, Any]:
        return answer("metrics", *([run] if run else []))

    @api.get("/paper-trades", summary="closed trades of the paper account")
    def paper_trades() -> dict[str, Any]:
        return answer("trades")

    @api.get("/paper", summary="equity, cash, positions, orders, runner")
    def paper() -> dict[str, Any]:
        return answer("paper", "status")

    @api.get("/alerts", summary="the newest alerts")
    def alerts() -> dict[str, Any]:
        return answer("alerts", "list")

    @api.get("/verify", summary="every invariant of the ledger")
    def verify() -> dict[str, Any]:
        return answer("verify")

    @api.get("/models", summary="every model on the shelf")
    def models() -> dict[str, Any]:
        return answer("models")

    @api.get("/predictions", summary="what models said and what came of it")
    def predictions() -> dict[str, Any]:
        return answer("predictions")

    @api.get("/jobs", summary="trainings, back-fills and sweeps")
    def jobs() -> dict[str, Any]:
        return answer("job")


def _series(api: FastAPI, answer: Answer) -> None:
    """Routes over one symbol: price, signal, candles, scores, a route a module, its aliases, and the composites."""
    from analysis.composites import COMPOSITES
    from analysis.modules import MODULES

    names = tuple(c.name for c in COMPOSITES)

    @api.get("/price/{symbol}", summary="the newest stored price, its age and where it comes from")
    def price(symbol: SymbolPath, market: Market = "spot") -> dict[str, Any]:
        return answer("price", symbol, f"--market={market}")

    @api.get("/signal/{symbol}", summary="the signal card")
    def signal(symbol: SymbolPath, interval: Interval = "1h", market: Market = "spot", at: At = None,
               strategy: Annotated[str, Query(max_length=40, description="one of the registry; a wrong one is answered with the list")]
               = "trend") -> dict[str, Any]:
        return answer("signal", symbol, f"--interval={interval}", f"--market={market}", f"--strategy={strategy}", *_moment(at))

    @api.get("/candles/{symbol}", summary="stored candles")
    def candles(symbol: SymbolPath, start: Annotated[str, Query(max_length=40)], end: Annotated[str, Query(max_length=40)],
                interval: Interval = "1h", market: Market = "spot") -> dict[str, Any]:
        return answer("candles", symbol, f"--interval={interval}", f"--market={market}", f"--start={start}", f"--end={end}")

    @api.get("/gaps/{symbol}", summary="holes in the candles")
    def gaps(symbol: SymbolPath, interval: Interval = "1h", market: Market = "spot") -> dict[str, Any]:
        return answer("gaps", symbol, f"--interval={interval}", f"--market={market}")

    @api.get("/scores/{symbol}", summary="ten modules and the composites")
    def scores(symbol: SymbolPath, interval: Interval = "1h", market: Market = "spot", at: At = None) -> dict[str, Any]:
        return answer("scores", symbol, f"--interval={interval}", f"--market={market}", *_moment(at))

    @api.get("/composite/{name}", summary=f"one composite: {', '.join(names)}")
    def composite(name: Annotated[str, Path(max_length=40, examples=["trend_strength"])],
                  symbol: Annotated[str, Query(pattern=r"^[A-Za-z0-9]{2,20}$", examples=["BTCUSDT"])], interval: Interval = "1h",
                  market: Market = "spot", at: At = None) -> dict[str, Any]:
        return answer("composite", name, symbol, f"--interval={interval}", f"--market={market}", *_moment(at))

    for module in MODULES:
        if module.letter == "I":
            continue
        for word in module.commands:
            def one(symbol: SymbolPath, interval: Interval = "1h", market: Market = "spot", at: At = None,
                    word: str = word) -> dict[str, Any]:
                return answer(word, symbol, f"--interval={interval}", f"--market={market}", *_moment(at))

            _no_word(one)
            api.add_api_route(f"/{word}/{{symbol}}", one, summary=f"{module.letter}: {module.question}", operation_id=f"module_{word}")

    def allocate(symbols: Annotated[str, Query(pattern=r"^[A-Za-z0-9]{2,20}(,[A-Za-z0-9]{2,20}){0,49}$", description="with commas")],
                 method: Annotated[str, Query(max_length=30)] = "hrp", interval: Interval = "1d", market: Market = "spot",
                 at: At = None) -> dict[str, Any]:
        return answer("allocate", *symbols.split(","), f"--method={method}", f"--interval={interval}", f"--market={market}", *_moment(at))

    for word in ("allocate", "al"):
        api.add_api_route(f"/{word}", allocate, summary="weights of a portfolio, with bands", operation_id=f"module_{word}")


def _no_word(route: Callable[..., Any]) -> None:
    """The word is bound, not asked for."""
    import inspect

    signature = inspect.signature(route)
    held = route.__defaults__
    route.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p for p in signature.parameters.values() if p.name != "word"])
    assert held is not None


def _changing(api: FastAPI, answer: Answer, sextant: Sextant, owner: Any) -> None:
    """Routes that change something: all need the token."""

    @api.post("/train", dependencies=[owner], status_code=202, summary="start a training as a job")
    def train(symbols: Annotated[list[Annotated[str, Body(pattern=r"^[A-Za-z0-9]{2,20}$")]], Body(min_length=1, max_length=50)],
              interval: Annotated[str, Body(pattern=r"^\d{1,2}[mhdwM]$")] = "1h",
              market: Annotated[Literal["spot", "perp"], Body()] = "spot",
              label: Annotated[str, Body(max_length=40)] = "dir3_dyn", model: Annotated[str | None, Body(max_length=40)] = None,
              bars: Annotated[int, Body(ge=500, le=200_000)] = 20_000) -> dict[str, Any]:
        from data.labels import label_kind
        from models.forecaster import default_forecaster, forecaster

        with answered():
            chosen = model or default_forecaster(label_kind(label).task)
            forecaster(chosen)
            keys = [sextant.key(s.upper(), interval, market) for s in symbols]
            job = sextant.jobs.submit("train", {"symbols": [k.symbol for k in keys], "interval": interval, "market": market, "label": label,
                                                "model": chosen, "bars": bars})
            sextant.jobs.pump()
            return job.document()

    @api.post("/paper/{act}", dependencies=[owner], summary="ask of the paper account: pause, resume, kill, rearm, close (of a symbol)")
    def ask(act: Literal["pause", "resume", "kill", "rearm", "close"],
            symbol: Annotated[str, Query(pattern=r"^[A-Za-z0-9]{0,20}$")] = "") -> dict[str, Any]:
        with answered():
            return {"key": sextant.paper_ask(act, symbol.upper()), "kind": act, "symbol": symbol.upper()}

    @api.post("/jobs/{number}/cancel", dependencies=[owner], summary="ask a job to stop")
    def cancel(number: Annotated[int, Path(ge=1, le=2**31)]) -> dict[str, Any]:
        return answer("job", str(number), "--cancel")
