"""The facade's verbs that try a rule: backtest, sweep, and what was tried before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.judging import Judging
from data.errors import InputError
from data.storage.durable import no_fault, replace_file

if TYPE_CHECKING:
    from core.backtest.question import Question
    from core.backtest.study import Study
    from core.backtest.sweeping import SweepResult
    from models.trials import TrialLedger

KEPT_RUNS = 200
WORLDS = 20
Tell = Callable[[int, int, str], None]


class Trying(Judging):
    """Verbs over backtests, each a few lines of delegation. Runs and tries live below the home folder, apart for each world."""

    @property
    def _tried(self) -> Path:
        return self.settings.home / "tried" / str(self.world)

    @property
    def _ledger(self) -> TrialLedger:
        from models.trials import TrialLedger

        return TrialLedger(self._tried / "trials.sqlite", self.clock)

    def backtest(self, question: Question, *, quick: bool = False, worlds: int = WORLDS, progress: Tell | None = None) -> Study:
        """Answer a question, count the try, and keep the report where pages find it."""
        from core.backtest.report import files
        from core.backtest.study import study

        done = study(self, question, self._ledger, quick=quick, worlds=worlds, progress=progress)
        folder = self._tried / "runs" / done.result.run_id
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files(done).items():
            replace_file(folder / name, content, no_fault, "backtest")
        self._forget()
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
        return done

    def backtests(self) -> list[dict[str, Any]]:
        """Stored runs, newest first, as headers: run id, what was asked, figures, verdict."""
        out = []
        for path in sorted((self._tried / "runs").glob("*/report.json"), key=lambda p: -p.stat().st_mtime_ns):
            try:
                d = json.loads(path.read_text(encoding="utf-8"))
                out.append({"run_id": d["run_id"], "question": d["question"], "from": d["from"], "to": d["to"], "trades": d["trades"],
                            "metrics": d["metrics"], "verdict": d["honesty"]["verdict"]})
            except (OSError, ValueError, KeyError):
                continue
        return out

    def stored_backtest(self, run_id: str) -> dict[str, Any]:
        """The whole report of a stored run.

        Raises
        ------
        InputError
            When no such run is stored.
        """
        return json.loads(self.backtest_file(run_id, "report.json"))

    def backtest_file(self, run_id: str, name: str) -> bytes:
        """One file of a stored run, for a download."""
        path = self._tried / "runs" / run_id / name
        if not run_id.isalnum() or "/" in name or not path.is_file():
            raise InputError(f"there is no stored run {run_id[:20]!r} with {name[:30]!r}; run it again")
        return path.read_bytes()

    def sweeps(self) -> list[dict[str, Any]]:
        """Finished sweeps, newest first."""
        out = []
        for path in sorted((self._tried / "swept").glob("*.json"), key=lambda p: -p.stat().st_mtime_ns):
            try:
                out.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                continue
        return out

    def _forget(self) -> None:
        """Keep the newest runs; the ledger forgets nothing."""
        folders = sorted((self._tried / "runs").iterdir(), key=lambda p: -p.stat().st_mtime_ns)
        for old in folders[KEPT_RUNS:]:
            for file in old.iterdir():
                file.unlink(missing_ok=True)
            old.rmdir()
