"""The compiled engine against the reference: the same trades to the last bit, cash within 1e-6, on accounts of every kind."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from core.backtest import engine, kernel
from core.backtest.engine import Variant
from core.backtest.kernel import simulate
from core.backtest.result import Reason
from core.risk.limits import RiskLimits
from data.errors import InputError
from tests.backtest_worlds import world


def agreed(seed):
    """Both engines on one world, compared; the result of the reference."""
    plan = world(seed).plan()
    slow = engine.run(plan, engine="reference")
    fast = engine.run(plan, engine="compiled")
    assert len(slow.trades) == len(fast.trades), seed
    for a, b in zip(slow.trades, fast.trades, strict=True):
        for field in ("symbol", "strategy", "side", "entry_time", "exit_time", "entry_price", "exit_price", "quantity", "reason",
                      "entry_bar", "exit_bar", "fills", "ambiguous"):
            assert getattr(a, field) == getattr(b, field), (seed, field, a, b)
        for field in ("pnl", "fees", "slippage", "funding", "risk", "optimistic_pnl"):
            assert getattr(a, field) == pytest.approx(getattr(b, field), abs=1e-6, nan_ok=True), (seed, field, a, b)
    assert [(r.bar, r.moment, r.symbol, r.side, r.code) for r in slow.refused] == \
           [(r.bar, r.moment, r.symbol, r.side, r.code) for r in fast.refused], seed
    for name in ("equity", "cash", "gross"):
        np.testing.assert_allclose(getattr(slow, name), getattr(fast, name), rtol=0, atol=1e-6, err_msg=f"seed {seed} {name}")
    swept = engine.sweep(plan, [Variant("same", {})], threads=1)
    for name, figure in slow.metrics.items():
        expected = pytest.approx(np.nan if figure is None else figure, rel=1e-9, abs=1e-9, nan_ok=True)
        assert (np.nan if fast.metrics[name] is None else fast.metrics[name]) == expected, (seed, name)
        if name in ("total_return", "sharpe", "sortino", "max_drawdown", "exposure"):
            assert swept[name][0] == expected, (seed, name)
    return slow


def test_compiled_equals_reference_on_200_random_accounts(seed):
    simulate.compile()
    reasons, refusals, partial, ambiguous, trades, funded, drawn, tightened = set(), set(), 0, 0, 0, 0, set(), 0
    for k in range(200):
        result = agreed(seed + k)
        trades += len(result.trades)
        reasons |= {t.reason for t in result.trades}
        refusals |= {r.code for r in result.refused}
        partial += sum(t.fills > 2 for t in result.trades)
        ambiguous += sum(t.ambiguous for t in result.trades)
        funded += sum(t.funding != 0.0 for t in result.trades)
        config = result.plan.config
        drawn.add((config.distances, config.limits.break_stop_atr is not None))
        if config.limits.break_stop_atr is not None and tightened < 3:
            without = dataclasses.replace(result.plan, tighten=np.full((len(result.symbols), 1), np.nan))
            tightened += repr(engine.run(without, engine="compiled").trades) != repr(result.trades)
    assert reasons == set(Reason), "a rule that never acted was not compared"
    assert {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 19} <= refusals
    assert {(d, t) for d in ("quote", "fraction", "price") for t in (False, True)} == drawn and tightened == 3
    assert partial > 100 and ambiguous > 10 and funded > 100 and trades > 2_000


def test_kernel_file_changes_with_its_parts():
    """The compiler's cache watches only kernel.py; without this an upgrade of the fill rules could run old machine code."""
    root = Path(kernel.__file__).parents[1]
    parts = [root / name for name in ("backtest/kernel_loop.py", "backtest/kernel_parts.py", "trading/fills.py", "trading/rule.py")]
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()[:12]
    assert digest == kernel.PARTS, f'write PARTS = "{digest}" in core/backtest/kernel.py'


def test_kernel_can_be_compiled_ahead_of_need():
    """The example has the types of a real run: one signature serves both."""
    simulate.compile()
    simulate.compiled(*simulate.example())
    engine.run(world(3).plan(), engine="compiled")
    assert len(simulate.compiled.signatures) == 1


def test_compiled_engine_says_what_it_cannot_run():
    given = world(1)
    plan = dataclasses.replace(given, config=dataclasses.replace(given.config, limits=RiskLimits.all_on())).plan()
    assert not plan.compiled
    with pytest.raises(InputError, match="without portfolio VaR, ES or correlation limits"):
        engine.run(plan, engine="compiled")


def test_plain_kernel_equals_the_compiled_one():
    """Short histories run uncompiled until the compiler is ready: the same result."""
    plan = world(3).plan()
    before, simulate.compiled = simulate.compiled, None
    try:
        plain = engine.run(plan, engine="compiled")
        simulate.compile()
        compiled = engine.run(plan, engine="compiled")
    finally:
        simulate.compiled = before
    assert repr(plain.trades) == repr(compiled.trades) and plain.equity.tobytes() == compiled.equity.tobytes()


@pytest.mark.long
def test_compiled_equals_reference_on_5000_random_accounts(seed):
    for k in range(5_000):
        agreed(seed + 10_000 + k)
