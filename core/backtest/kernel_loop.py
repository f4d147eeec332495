"""The trading rules in one compiled loop: the same arithmetic in the same order as core/backtest/reference.py, which explains it.

Equal trade by trade to the reference (prices, quantities, times, reasons exactly); a test keeps it so. One strategy a symbol, no
limits on a history of returns. Plain loops over flat arrays, nothing is allocated inside: a thread a parameter set may run it.
"""

from __future__ import annotations

import math

from core.backtest.kernel_parts import (
    A_CASH,
    A_FEES,
    A_FUNDING,
    A_GAINS,
    A_LIVE,
    A_LOST,
    A_REFUSED,
    A_TRADED,
    A_TRADES,
    A_WINS,
    CAPITAL,
    CARRY,
    DAY,
    DRAWDOWN,
    ENTRY,
    ENTRY_BAR,
    EXTREME,
    FEES,
    FLOATS,
    FUNDED,
    INSIDE,
    INTERVAL_MS,
    KEEP,
    LEAVING,
    LIQUIDATED,
    MARK,
    MAX_BARS,
    P_ATTEMPTS,
    P_EQUITY,
    P_FILLED,
    P_LIMIT,
    P_SCALE,
    P_SIDE,
    P_STOP,
    P_TARGET,
    P_TOTAL,
    P_TRAIL,
    P_TRIED,
    PARTICIPATION,
    PRICES,
    QTY,
    RANKED,
    REARM_MS,
    ROOM,
    S_DAYS,
    S_DEPTH,
    S_DOWN,
    S_EQUITY,
    S_FEES,
    S_FUNDING,
    S_GAINS,
    S_IN_MARKET,
    S_LONGEST,
    S_LOSSES,
    S_MEAN,
    S_MEAN_EQUITY,
    S_RECOVERY,
    S_REFUSED,
    S_SQUARES,
    S_TRADED,
    S_TRADES,
    S_ULCER,
    S_WINS,
    SIDE,
    SPOT,
    STAMP,
    STOP,
    STOP_X,
    STOPPED,
    TARGET,
    TARGET_X,
    TRAIL_X,
    WHOLES,
    charge_funding,
    enter,
    find_exit,
    leave,
    move_stop,
    refusal,
    refuse,
)
from core.trading.fills import limit_gapped, limit_traded_through, round_equity, round_price
from core.trading.rule import rule

NEVER = -(1 << 40)


@rule
def run(cfg, open_time, close_time, o, h, l, c, volume, mark_high, mark_low, half, impact, scale, veto, tighten,  # noqa: E741
        hole_after, action, stop_d, target_d, trail_d, limit_p, strength, own_veto, grid, fine_from, fine_to, fine, fine_close,
        stamp_from, stamp_time, stamp_rate, stamp_mark, wanting, day_end, A, F, W, trade_f, trade_w, refused, equity_out, cash_out,
        gross_out, out):
    """Fills the outputs in place. Arrays of shape (symbols, bars); core/backtest/engine.py lays them out.

    `wanting` are the bars at which some symbol asks for an entry, `day_end` the last bar of each UTC day. `cfg[KEEP]`: 0 the summary
    alone, 1 trades, refusals and equity too, 2 the curves of cash and gross notional as well.
    """
    m, n = o.shape
    keep, curves, spot = cfg[KEEP] > 0.0, cfg[KEEP] > 1.0, cfg[SPOT] > 0.0
    w_stop, w_target, w_trail = stop_d.shape[1] > 1, target_d.shape[1] > 1, trail_d.shape[1] > 1
    w_limit, w_strength, w_veto = limit_p.shape[1] > 1, strength.shape[1] > 1, own_veto.shape[1] > 1
    w_fine, w_scale, w_tighten = fine_from.shape[1] > 1, scale.shape[1] > 1, tighten.shape[1] > 1
    stamps = len(stamp_time) > 0
    yes, no = n > 0, n < 0  # a literal True would have its callee compiled once more
    interval = int(cfg[INTERVAL_MS])
    carry, max_bars, prices = int(cfg[CARRY]), int(cfg[MAX_BARS]), cfg[PRICES] > 0.0
    rearm_ms = int(cfg[REARM_MS])
    A[:] = 0.0
    A[A_CASH] = cfg[CAPITAL]
    equity = peak = day_start = previous = top = daily_last = cfg[CAPITAL]
    next_day = (open_time[0] // DAY + 1) * DAY
    killed, killed_until = False, 0
    deepest, deepest_row, high_row, longest, recovery, total, ulcer = 0.0, 0, 0, 0, 0.0, 0.0, 0.0  # row 0 is the start, row b + 1 bar b
    days, in_market, coming = 0, 0, 0
    mean = squares = down = 0.0
    for s in range(m):
        for k in range(FLOATS):
            F[s, k] = 0.0
        for k in range(WHOLES):
            W[s, k] = 0
        W[s, STOPPED] = NEVER
        W[s, LEAVING] = -1

    b = -1
    while b < n - 1:
        b += 1
        if A[A_LIVE] == 0.0 and cfg[DRAWDOWN] != 0.0:  # nothing is open: on to the next bar at which something is wanted
            while coming < len(wanting) and wanting[coming] < b:
                coming += 1
            then = wanting[coming] if coming < len(wanting) else n - 1
            if then > b:
                if keep:
                    equity_out[b:then] = equity
                if curves:
                    cash_out[b:then] = equity
                    gross_out[b:then] = 0.0
                while day_end[days] < then:
                    days += 1
                    delta = equity / daily_last - 1.0 - mean
                    mean += delta / days
                    squares += delta * (equity / daily_last - 1.0 - mean)
                    down += min(equity / daily_last - 1.0, 0.0) ** 2
                    daily_last = equity
                total += (then - b) * equity
                if equity == top:
                    high_row = then
                else:
                    ulcer += (then - b) * (equity / top - 1.0) ** 2
                moment = open_time[then - 1] + interval
                if moment >= next_day:
                    day_start = equity
                    next_day = (moment // DAY + 1) * DAY
                if killed and moment >= killed_until:
                    killed = False
                    peak = equity
                previous = equity
                b = then
        busy = False  # does anything but the close happen in this bar?
        if A[A_LIVE] > 0.0:
            for s in range(m):  # written out: a call with arrays costs as much as all of this
                side = W[s, SIDE]
                if W[s, P_SIDE] != 0 or (side != 0 and W[s, LEAVING] >= 0):
                    busy = True
                elif side > 0:
                    busy = busy or l[s, b] <= F[s, STOP] or h[s, b] >= F[s, TARGET] or (
                        not spot and (l[s, b] <= F[s, LIQUIDATED] or mark_low[s, b] <= F[s, LIQUIDATED]))
                elif side < 0:
                    busy = busy or h[s, b] >= F[s, STOP] or l[s, b] <= F[s, TARGET] or (
                        h[s, b] >= F[s, LIQUIDATED] or mark_high[s, b] >= F[s, LIQUIDATED])
                if stamps and side != 0 and W[s, STAMP] < stamp_from[s, n]:
                    busy = busy or stamp_time[W[s, STAMP]] <= open_time[b]
        if busy:
            for s in range(m):
                if W[s, SIDE] != 0 or W[s, P_SIDE] != 0:
                    if cfg[PARTICIPATION] < 0.0:
                        F[s, ROOM] = math.inf if volume[s, b] > 0.0 else 0.0
                    else:
                        F[s, ROOM] = cfg[PARTICIPATION] * volume[s, b]
                    if stamps and W[s, SIDE] != 0:
                        charge_funding(s, open_time[b], A, F, W, stamp_from[s, n], stamp_time, stamp_rate, stamp_mark)
            for s in range(m):  # exits at the open
                if W[s, SIDE] != 0 and W[s, LEAVING] >= 0:
                    leave(s, b, W[s, LEAVING], o[s, b], open_time[b], no, cfg, A, F, W, grid[s, 0], grid[s, 1], half[s, b],
                          impact[s, b], trade_f, trade_w)
            for s in range(m):  # entries at the open
                if W[s, P_SIDE] != 0:
                    maker = F[s, P_LIMIT] == F[s, P_LIMIT]
                    if (not maker) or limit_gapped(o[s, b], F[s, P_LIMIT], W[s, P_SIDE]):
                        enter(s, b, o[s, b], open_time[b], maker, no, open_time[b], cfg, A, F, W, grid, half[s, b], impact[s, b],
                              stamp_from[s, b], stamp_from[s, n], stamp_time, refused)
            for s in range(m):  # inside the bar
                if W[s, SIDE] == 0 and (W[s, P_SIDE] == 0 or F[s, P_LIMIT] != F[s, P_LIMIT]):
                    continue
                first, last = 0, 1
                replay = w_fine and fine_to[s, b] > fine_from[s, b]
                if replay:
                    first, last = fine_from[s, b], fine_to[s, b]
                for j in range(first, last):
                    po, ph, pl, at = o[s, b], h[s, b], l[s, b], close_time[b]
                    if replay:
                        po, ph, pl, at = fine[0, j], fine[1, j], fine[2, j], fine_close[j]
                    for step in range(2):  # a limit that fills here is tested against its stop here
                        if W[s, SIDE] != 0:
                            reason, ref, ambiguous = find_exit(s, cfg, F, W, po, ph, pl, mark_low[s, b], mark_high[s, b], step > 0)
                            if reason >= 0:
                                if stamps:
                                    charge_funding(s, at, A, F, W, stamp_from[s, n], stamp_time, stamp_rate, stamp_mark)
                                leave(s, b, reason, ref, at, ambiguous, cfg, A, F, W, grid[s, 0], grid[s, 1], half[s, b], impact[s, b],
                                      trade_f, trade_w)
                        limit = F[s, P_LIMIT]
                        if step > 0 or W[s, P_SIDE] == 0 or limit != limit or W[s, P_TRIED] == b:
                            break
                        if not limit_traded_through(pl, ph, limit, W[s, P_SIDE]):
                            break
                        enter(s, b, limit, at, yes, yes, open_time[b], cfg, A, F, W, grid, half[s, b], impact[s, b], stamp_from[s, b],
                              stamp_from[s, n], stamp_time, refused)

        # -- the close: ratchet, mark, kill switch
        equity = A[A_CASH]
        gross = 0.0
        if A[A_LIVE] > 0.0:
            for s in range(m):
                side = W[s, SIDE]
                F[s, MARK] = c[s, b]
                if side != 0:
                    best = c[s, b]
                    if W[s, INSIDE] != b:
                        best = h[s, b] if side > 0 else l[s, b]
                    trail = trail_d[s, b] * cfg[TRAIL_X] if w_trail else math.nan
                    distance = tighten[s, b if w_tighten else 0]
                    if side * (best - F[s, EXTREME]) > 0.0 or trail == trail or distance == distance:
                        move_stop(s, best, trail, c[s, b], distance, grid[s, 0], F, W)
                    gross += F[s, QTY] * c[s, b]
                    if spot:
                        equity += F[s, QTY] * c[s, b]
                    else:
                        equity += side * F[s, QTY] * (c[s, b] - F[s, ENTRY])
            if gross > 0.0:
                in_market += 1
        if keep:
            equity_out[b] = equity
        if curves:
            cash_out[b] = A[A_CASH]
            gross_out[b] = gross
        total += equity
        if equity >= top:
            longest = max(longest, b - high_row)
            high_row = b + 1
            if recovery != recovery:
                recovery = b + 1.0 - deepest_row
            top = equity
        else:
            depth = equity / top - 1.0
            ulcer += depth * depth
            if depth < deepest:
                deepest = depth
                deepest_row = b + 1
                recovery = math.nan
        if b == day_end[days]:
            change = equity / daily_last - 1.0
            days += 1
            delta = change - mean
            mean += delta / days
            squares += delta * (change - mean)
            down += min(change, 0.0) ** 2
            daily_last = equity
        moment = open_time[b] + interval
        if moment >= next_day:
            day_start = equity if moment % DAY == 0 else previous
            next_day = (moment // DAY + 1) * DAY
        previous = equity
        if killed and moment >= killed_until:
            killed = False
            peak = equity
        if equity > peak:
            peak = equity
        if cfg[DRAWDOWN] >= 0.0 and (not killed) and equity <= peak * (1.0 - cfg[DRAWDOWN]):
            killed = True
            killed_until = moment + rearm_ms
            for s in range(m):
                if W[s, P_SIDE] != 0:
                    W[s, P_SIDE] = 0
                    A[A_LIVE] -= 1
                W[s, LEAVING] = 6
        if b == n - 1:
            break

        # -- decisions
        wanted = 0
        if A[A_LIVE] > 0.0:
            for s in range(m):
                if W[s, P_SIDE] != 0:
                    W[s, P_ATTEMPTS] += 1
                    if W[s, P_ATTEMPTS] > carry:
                        if F[s, P_FILLED] == 0.0:
                            refuse(A, refused, keep, b, moment, s, W[s, P_SIDE], 13)
                        W[s, P_SIDE] = 0
                        A[A_LIVE] -= 1
                if W[s, SIDE] != 0 and W[s, LEAVING] < 0 and max_bars > 0 and b + 1 - W[s, ENTRY_BAR] >= max_bars:
                    W[s, LEAVING] = 4
        for s in range(m):
            act = action[s, b]
            W[s, RANKED] = 0
            if act == 0:
                continue
            entering = act == 1 or act == -1
            if W[s, P_SIDE] != 0:
                side = W[s, P_SIDE]
                if (entering and act == -side) or (not entering and (act == 3 or act == 2 * side)):
                    W[s, P_SIDE] = 0
                    A[A_LIVE] -= 1
                elif entering:
                    continue
            side = W[s, SIDE]
            if side != 0:
                if W[s, LEAVING] < 0 and ((entering and act == -side) or (not entering and (act == 3 or act == 2 * side))):
                    W[s, LEAVING] = 7 if entering else 0
                if not (entering and act == -side):
                    continue
            if entering:
                W[s, RANKED] = 1
                wanted += 1
        if wanted == 0:
            continue
        rounded = round_equity(equity)
        while wanted > 0:
            s = -1
            best = 0.0
            for k in range(m):  # the strongest of those left; the earlier name wins a tie
                if W[k, RANKED] == 1:
                    force = strength[k, b if w_strength else 0]
                    if force != force:
                        force = 0.0
                    if s < 0 or force > best:
                        s = k
                        best = force
            wanted -= 1
            W[s, RANKED] = 0
            side = 1 if action[s, b] == 1 else -1
            stop = stop_d[s, b if w_stop else 0] * (1.0 if prices else cfg[STOP_X])
            trail = trail_d[s, b if w_trail else 0] * cfg[TRAIL_X]
            size_scale = scale[s, b if w_scale else 0]
            code = refusal(s, b, side, moment, rounded, killed, day_start, stop, trail, veto[s, b], own_veto[s, b if w_veto else 0],
                           half[s, b + 1], size_scale, cfg, A, W)
            if code == 0 and hole_after[b]:
                code = 18
            if code != 0:
                refuse(A, refused, keep, b, moment, s, side, code)
                continue
            limit = limit_p[s, b if w_limit else 0]
            if limit == limit:
                limit = round_price(limit, grid[s, 0], side > 0)
            F[s, P_EQUITY] = rounded
            F[s, P_STOP] = stop
            F[s, P_TARGET] = target_d[s, b if w_target else 0] * (1.0 if prices else cfg[TARGET_X])
            F[s, P_TRAIL] = trail
            F[s, P_LIMIT] = limit
            F[s, P_SCALE] = size_scale
            F[s, P_TOTAL] = math.nan
            F[s, P_FILLED] = 0.0
            W[s, P_SIDE] = side
            W[s, P_ATTEMPTS] = 0
            W[s, P_TRIED] = -1
            F[s, MARK] = c[s, b]
            A[A_LIVE] += 1

    for s in range(m):
        if W[s, SIDE] != 0:
            A[A_FEES] += F[s, FEES]
            A[A_FUNDING] += F[s, FUNDED]
    out[S_TRADES] = A[A_TRADES]
    out[S_REFUSED] = A[A_REFUSED]
    out[S_TRADED] = A[A_TRADED]
    out[S_EQUITY] = equity
    out[S_DEPTH] = deepest
    out[S_LONGEST] = max(longest, n - high_row)
    out[S_RECOVERY] = recovery
    out[S_ULCER] = math.sqrt(ulcer / (n + 1))
    out[S_MEAN_EQUITY] = total / n
    out[S_DAYS] = days
    out[S_MEAN] = mean
    out[S_SQUARES] = squares
    out[S_DOWN] = down
    out[S_WINS] = A[A_WINS]
    out[S_GAINS] = A[A_GAINS]
    out[S_LOSSES] = A[A_LOST]
    out[S_IN_MARKET] = in_market
    out[S_FEES] = A[A_FEES]
    out[S_FUNDING] = A[A_FUNDING]
