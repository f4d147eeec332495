"""What a job can do: one function a kind, run in the child process. A job resumes by being submitted again."""

from __future__ import annotations

from typing import Any

from core.jobs import Cancelled, Report, Work
from core.sextant import Sextant
from data.errors import SourceDown


def works(sextant: Sextant) -> dict[str, Work]:
    """Every kind of job, bound to this process's Sextant."""
    return {"backfill": lambda arguments, report: _backfill(sextant, arguments, report),
            "lab": lambda arguments, report: _lab(sextant, arguments, report),
            "backtest": lambda arguments, report: _backtest(sextant, arguments, report),
            "sweep": lambda arguments, report: _sweep(sextant, arguments, report),
            "train": lambda arguments, report: _train(sextant, arguments, report),
            "path": lambda arguments, report: _path(sextant, arguments, report),
            "retrain": lambda arguments, report: _retrain(sextant, report),
            "tune": lambda arguments, report: _tune(sextant, arguments, report)}


def _lab(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """The score lab over symbols at one interval; the result is stored where pages find it."""
    found = sextant.run_lab(tuple(arguments["symbols"]), arguments["interval"], arguments["market"], bars=int(arguments["bars"]),
                            worlds=int(arguments.get("worlds", 0)), progress=report)
    return {"made_at": found.made_at, "symbols": found.document["symbols"]}


def _backtest(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """One backtest with its honesty panel; the report is stored under its run id."""
    from core.backtest.asking import ask

    question = ask(arguments["symbols"], arguments["options"], rule=arguments.get("rule"), rows=arguments.get("rows"),
                   parameters=arguments.get("parameters"))
    done = sextant.backtest(question, quick=bool(arguments.get("quick")), progress=report)
    return {"run_id": done.result.run_id, "verdict": done.verdict["word"]}


def _sweep(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """A grid of settings; submitted again it goes on where it was stopped."""
    from core.backtest.asking import ask, grid_of

    question = ask(arguments["symbols"], arguments["options"], rule=arguments["rule"], parameters=arguments.get("parameters"))
    done = sextant.sweep(question, grid_of(arguments["grid"]), report)
    return {"sets": len(done.rows), "words": done.document["words"]}


def _train(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Train, judge and shelve; `options` are those of TrainOptions."""
    from models.train import TrainOptions

    done = sextant.train(tuple(arguments["symbols"]), arguments["interval"], arguments["market"], label=arguments["label"],
                         model=arguments.get("model"), options=TrainOptions(**arguments.get("options", {})), bars=int(arguments["bars"]),
                         progress=report)
    return {"id": done.id, "serves": done.serves, "words": done.result.verdict.words, "folds": list(done.result.folds)}


def _tune(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Search parameters; submitted again it goes on with the tries that are missing."""
    from models.train import TrainOptions

    found = sextant.tune(tuple(arguments["symbols"]), arguments["interval"], arguments["market"], label=arguments["label"],
                         model=arguments.get("model"), options=TrainOptions(**arguments.get("options", {})), bars=int(arguments["bars"]),
                         trials=int(arguments["trials"]), progress=report)
    return found.document()


def _path(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """The four models of the next twenty candles of one series."""
    key = sextant.key(arguments["symbols"][0], arguments["interval"], arguments["market"])
    return {"words": sextant.train_path(key, progress=report)}


def _retrain(sextant: Sextant, report: Report) -> dict[str, Any]:
    """Challengers for every slot whose newest version is a week old."""
    return {"slots": [found.document() for found in sextant.retrain(progress=report)]}


def _backfill(sextant: Sextant, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Symbols at one interval over a range; progress counts candles over all of them."""
    from data.collector import Progress
    from data.market import Interval, Market, SeriesKey

    interval, market = Interval.parse(arguments["interval"]), Market.parse(arguments["market"])
    keys = [SeriesKey(symbol, interval, market) for symbol in arguments["symbols"]]
    end_ms = arguments.get("end_ms") or sextant.clock.now_ms()
    start_ms = arguments.get("start_ms") or end_ms - int(arguments["days"] * 86_400_000)
    seen: dict[SeriesKey, int] = {}

    def tell(progress: Progress) -> None:
        seen[progress.key] = progress.done_bars
        report(sum(seen.values()), max(1, len(keys) * progress.total_bars), progress.words)

    done = sextant.outside.backfill(keys, start_ms, end_ms, progress=tell)
    if done.cancelled:
        raise Cancelled("stopped by the user")
    failed = [one.failed for one in done.series if one.failed]
    if failed and len(failed) == len(keys):
        raise SourceDown(failed[0])
    report(1, 1, f"{done.added:,} candles added" + (f"; {failed[0]}" if failed else ""))
    return done.document()
