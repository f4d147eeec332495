"""The compiled engine as a kernel: what core/backtest/kernel_loop.py does, kept compiled on disk."""

from __future__ import annotations

from core.backtest.kernel_loop import run
from data.kernel import kernel

PARTS = "e080e1f0300e"  # of kernel_loop.py, kernel_parts.py, fills.py, rule.py: changes when they do, lest old machine code survives them


@kernel
def simulate(cfg, open_time, close_time, o, h, l, c, volume, mark_high, mark_low, half, impact, scale, veto, tighten,  # noqa: E741
             hole_after, action, stop_d, target_d, trail_d, limit_p, strength, own_veto, grid, fine_from, fine_to, fine, fine_close,
             stamp_from, stamp_time, stamp_rate, stamp_mark, wanting, day_end, A, F, W, trade_f, trade_w, refused, equity_out, cash_out,
             gross_out, out):
    """`run`, as the kernel that is kept compiled on disk."""
    run(cfg, open_time, close_time, o, h, l, c, volume, mark_high, mark_low, half, impact, scale, veto, tighten, hole_after, action,
        stop_d, target_d, trail_d, limit_p, strength, own_veto, grid, fine_from, fine_to, fine, fine_close, stamp_from, stamp_time,
        stamp_rate, stamp_mark, wanting, day_end, A, F, W, trade_f, trade_w, refused, equity_out, cash_out, gross_out, out)
