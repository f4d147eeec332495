"""The facade's verbs that try a rule: backtest, sweep, and what was tried before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.forecasting import Forecasting
from core.stored import Damaged, keep_newest, newest_first, read
from data.errors import InputError
from data.market import SeriesKey
from data.storage.durable import no_fault, replace_file

if TYPE_CHECKING:
    from core.backtest.question import Question
    from core.backtest.study import Study
    from core.backtest.sweeping import SweepResult
    from core.signals import SignalCard
    from core.strategies import Choice

KEPT_RUNS = KEPT_SWEEPS = 200
HEAD = "head.json"  # of a run's folder: what lists show of it
HEADED = ("run_id", "question", "from", "to", "trades", "trials", "metrics", "verdict", "quick")
WORLDS = 20
Tell = Callable[[int, int, str], None]


class Trying(Forecasting):
    """Verbs over backtests, each a few lines of delegation. Runs and tries live below the home folder, apart for each world."""

    @property
    def _tried(self) -> Path:
        return self.settings.home / "tried" / str(self.world)

    def signal(self, key: SeriesKey, choice: Choice, *, at_ms: int | None = None) -> SignalCard:
        """What a strategy wants right now, at which prices, how large, and why."""
        from core.signals import signal_card
        from core.strategies import strategy

        label = strategy(choice.name).forecasts
        model = self.serving(key, label).id if label else ""
        return self._signals.get(self._version(key, choice.name, tuple(sorted(choice.values.items())), at_ms, model),
                                 lambda: signal_card(self, key, choice, at_ms=at_ms))

    def backtest(self, question: Question, *, quick: bool = False, worlds: int = WORLDS, progress: Tell | None = None) -> Study:
        """Answer a question, count the try, and keep the report where pages find it."""
        from core.backtest.report import files
        from core.backtest.study import study

        done = study(self, question, self._ledger, quick=quick, worlds=worlds, progress=progress)
        folder = self._tried / "runs" / done.result.run_id
        folder.mkdir(parents=True, exist_ok=True)
        before = self._head(folder) if (folder / "report.json").is_file() else None
        if quick and isinstance(before, dict) and not before["quick"]:
            return done  # the full report of the same run says more
        for name, content in files(done).items():
            replace_file(folder / name, content, no_fault, "backtest")
        replace_file(folder / HEAD, json.dumps(head_of(done.document()), allow_nan=False).encode(), no_fault, "backtest")
        keep_newest((self._tried / "runs").iterdir(), KEPT_RUNS, _remove)
        return done

    def sweep(self, question: Question, grid: dict[str, tuple[float, ...]], progress: Tell | None = None) -> SweepResult:
        """Every combination of a grid; a stopped one goes on where it was."""
        from core.backtest.sweeping import run_sweep

        done = run_sweep(self, question, grid, self._ledger, home=self._tried, progress=progress)
        folder = self._tried / "swept"
        folder.mkdir(parents=True, exist_ok=True)
        asked = json.dumps([question.document(), {n: list(v) for n, v in grid.items()}], sort_keys=True)
        name = f"{question.rule}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
        replace_file(folder / f"{name}.json", json.dumps(done.document, allow_nan=False).encode(), no_fault, "sweep")
        keep_newest(folder.glob("*.json"), KEPT_SWEEPS)
        return done

    def stored_runs(self) -> tuple[list[dict[str, Any]], list[Damaged]]:
        """Stored runs, newest first: their headers (run id, what was asked, figures, tries counted, verdict), and those that cannot be
        read, with the reason."""
        found = [self._head(report.parent) for report in newest_first((self._tried / "runs").glob("*/report.json"))]
        return [h for h in found if not isinstance(h, Damaged)], [h for h in found if isinstance(h, Damaged)]

    def backtests(self) -> list[dict[str, Any]]:
        """The headers of the stored runs that can be read, newest first."""
        return self.stored_runs()[0]

    def damaged_backtests(self) -> list[Damaged]:
        """Stored runs that cannot be read, with the reason."""
        return self.stored_runs()[1]

    def runs_version(self) -> str:
        """Another value once the answer of `stored_runs` may be another: a run was added, replaced or removed, or its header damaged, by
        whichever process. Only the files' times are looked at, which is far quicker than reading them."""
        return self._seen(path for folder in (self._tried / "runs").glob("*") for path in (folder, folder / HEAD))

    def sweeps_version(self) -> str:
        """The same for `sweeps`."""
        return self._seen((self._tried / "swept").glob("*.json"))

    def _seen(self, paths: Iterable[Path]) -> str:
        seen = [f"{self.settings.home} {self.world}"]
        for path in sorted(paths):
            with suppress(OSError):  # it vanished meanwhile
                found = path.stat()
                seen.append(f"{path.name} {found.st_mtime_ns} {found.st_size}")
        return hashlib.blake2b("\n".join(seen).encode(), digest_size=16).hexdigest()

    def _head(self, folder: Path) -> dict[str, Any] | Damaged:
        """A run's header; made from the report where an older version kept none."""
        if (folder / HEAD).is_file():
            return read(folder / HEAD, folder.name, HEADED)
        report = read(folder / "report.json", folder.name, ("run_id", "question", "from", "to", "trades", "metrics", "honesty"))
        if isinstance(report, Damaged):
            return report
        head = head_of(report)
        replace_file(folder / HEAD, json.dumps(head, allow_nan=False).encode(), no_fault, "backtest")
        return head

    def stored_backtest(self, run_id: str) -> dict[str, Any]:
        """The whole report of a stored run.

        Raises
        ------
        InputError
            When no such run is stored, or it is damaged.
        """
        self.backtest_file(run_id, "report.json")
        found = read(self._tried / "runs" / run_id / "report.json", run_id, ("run_id", "honesty"))
        if isinstance(found, Damaged):
            raise InputError(f"the stored run {run_id} is damaged ({found.reason}); run it again")
        return found

    def backtest_file(self, run_id: str, name: str) -> bytes:
        """One file of a stored run, for a download."""
        path = self._tried / "runs" / run_id / name
        if not run_id.isalnum() or "/" in name or not path.is_file():
            raise InputError(f"there is no stored run {run_id[:20]!r} with {name[:30]!r}; run it again")
        return path.read_bytes()

    def sweeps(self) -> list[dict[str, Any]]:
        """Finished sweeps, newest first; a damaged one is named in the log."""
        found = (read(path, path.stem, ("study", "sets")) for path in newest_first((self._tried / "swept").glob("*.json")))
        return [each for each in found if not isinstance(each, Damaged)]


def head_of(report: dict[str, Any]) -> dict[str, Any]:
    """What lists show of a report."""
    honesty = report["honesty"]
    return {name: report[name] for name in ("run_id", "question", "from", "to", "trades", "metrics")} | {
        "verdict": honesty["verdict"], "trials": honesty["trials"], "quick": "random_entries" not in honesty}


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
    folder.rmdir()
