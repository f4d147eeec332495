"""The fills of the compiled engine: leave and enter, over the arrays that hold an account. See core/backtest/reference.py for the rules.

They are compiled into the kernel that calls them (core/trading/rule.py). Arrays: A figures of the account, F and W the symbols' floats and
whole numbers; the names below are their columns.
"""

from __future__ import annotations

import math

from core.trading.fills import (
    bankruptcy_price,
    exit_level,
    floor_quantity,
    liquidation_price,
    market_price,
    price_level,
    regrid,
    stop_reference,
    stop_touched,
    target_gapped,
    target_touched,
    trailing_level,
)
from core.trading.rule import rule

# configuration vector
(CAPITAL, LEVERAGE, SPOT, SIZING, SIZE, FRACTION, STOP_X, TARGET_X, TRAIL_X, MAX_BARS, MAX_POSITIONS, POSITION_CAP, GROSS_CAP,
 PARTICIPATION, CARRY, DRAWDOWN, REARM_MS, DAILY_LOSS, COOLDOWN, STREAK, PAUSE_MS, MAKER, TAKER, SQRT, OPTIMISTIC, INTERVAL_MS,
 KEEP, PRICES) = range(28)
CONFIG_LENGTH = 28
# state of a symbol: floats (position, then pending order)
(QTY, ENTRY, ENTERED, ENTRY_SUM, EXITED, EXIT, EXIT_SUM, FEES, SLIPPED, FUNDED, STOP, TARGET, TRAIL, EXTREME, RISK, UNIT, LIQUIDATED, MARK,
 ROOM, P_EQUITY, P_STOP, P_TARGET, P_TRAIL, P_LIMIT, P_SCALE, P_TOTAL, P_FILLED) = range(27)
FLOATS = 27
# and whole numbers
(SIDE, OPENED, ENTRY_BAR, TRAILED, INSIDE, FILLS, STAMP, LEAVING, STOPPED, P_SIDE, P_ATTEMPTS, P_TRIED, RANKED) = range(13)
WHOLES = 13
# columns of the trades
T_FLOATS, T_WHOLES = 9, 9
# the summary
(S_TRADES, S_REFUSED, S_TRADED, S_EQUITY, S_DEPTH, S_DAYS, S_MEAN, S_SQUARES, S_DOWN, S_WINS, S_GAINS, S_LOSSES, S_IN_MARKET, S_FEES,
 S_FUNDING, S_LONGEST, S_RECOVERY, S_ULCER, S_MEAN_EQUITY) = range(19)
SUMMARY_LENGTH = 19
DAY = 86_400_000
# figures of the account that fills change
(A_CASH, A_LIVE, A_TRADES, A_REFUSED, A_TRADED, A_WINS, A_GAINS, A_LOST, A_FEES, A_FUNDING, A_STREAK, A_PAUSED) = range(12)
ACCOUNT_LENGTH = 12


@rule
def charge_funding(s, until, A, F, W, end, stamp_time, stamp_rate, stamp_mark):
    """Stamps up to `until` that the position has not paid yet."""
    k = W[s, STAMP]
    while k < end and stamp_time[k] <= until:
        amount = -W[s, SIDE] * F[s, QTY] * stamp_mark[k] * stamp_rate[k]
        A[A_CASH] += amount
        F[s, FUNDED] += amount
        k += 1
    W[s, STAMP] = k


@rule
def refuse(A, refused, keep, b, moment, s, side, code):
    row = int(A[A_REFUSED])
    if keep:
        refused[row, 0] = b
        refused[row, 1] = moment
        refused[row, 2] = s
        refused[row, 3] = side
        refused[row, 4] = code
    A[A_REFUSED] = row + 1


@rule
def find_exit(s, cfg, F, W, po, ph, pl, mark_low, mark_high, entered_here):
    """(reason or -1, reference price, ambiguous): liquidation if nearer, stop, target; the stop where both lie in the bar."""
    side, stop, target = W[s, SIDE], F[s, STOP], F[s, TARGET]
    has_stop = stop == stop
    if cfg[SPOT] == 0.0:
        level = F[s, LIQUIDATED]
        touch = (pl if mark_low != mark_low else mark_low) if side > 0 else (ph if mark_high != mark_high else mark_high)
        nearer = (not has_stop) or side * (level - stop) >= 0.0 or side * (po - level) <= 0.0
        if side * (touch - level) <= 0.0 and nearer:
            return 5, bankruptcy_price(F[s, ENTRY], cfg[LEVERAGE], side), False
    stop_hit = has_stop and stop_touched(pl, ph, stop, side)
    target_hit = (not entered_here) and target == target and target_touched(pl, ph, target, side)
    target_first = target_hit and target_gapped(po, target, side)
    ambiguous = stop_hit and target_hit and (not target_first) and side * (po - stop) > 0.0
    if stop_hit and (not target_first) and not (ambiguous and cfg[OPTIMISTIC] > 0.0):
        return (3 if W[s, TRAILED] != 0 else 1), stop_reference(po, stop, side), ambiguous
    if target_hit:
        return 2, (po if target_first else target), False
    return -1, po, False


@rule
def leave(s, b, reason, ref, at, ambiguous, cfg, A, F, W, ticks, steps, half, impact, trade_f, trade_w):
    """Give up what may be given up in this bar; records the trade when flat. True while nothing but the fill happened."""
    side, qty = W[s, SIDE], F[s, QTY]
    if cfg[SPOT] == 0.0:
        bankrupt = bankruptcy_price(F[s, ENTRY], cfg[LEVERAGE], side)
        if side * (ref - bankrupt) < 0.0:
            reason, ref, ambiguous = 5, bankrupt, False
    forced = reason == 1 or reason == 3 or reason == 5 or reason == 6
    if not forced:
        qty = min(qty, floor_quantity(F[s, ROOM] / ref, steps))
        if not qty > 0.0:
            return
    price, rate = ref, 0.0
    if reason == 2:
        rate = cfg[MAKER]
    elif reason != 5:
        rate = cfg[TAKER]
        moved = 0.0
        if cfg[SQRT] > 0.0 or (forced and qty * ref > F[s, ROOM]):
            moved = impact * math.sqrt(qty * ref)
        price = market_price(ref, side < 0, half + moved, ticks)
    paid, sold, fee = F[s, FEES], F[s, EXIT_SUM], qty * price * rate
    if cfg[SPOT] > 0.0:
        A[A_CASH] += qty * price - fee
    else:
        A[A_CASH] += side * qty * (price - F[s, ENTRY]) - fee
    if F[s, EXITED] > 0.0:
        F[s, EXIT] = (F[s, EXIT] * F[s, EXITED] + price * qty) / (F[s, EXITED] + qty)
    else:
        F[s, EXIT] = price
    F[s, EXITED] += qty
    F[s, EXIT_SUM] += qty * price
    F[s, FEES] += fee
    F[s, SLIPPED] += abs(price - ref) * qty
    W[s, FILLS] += 1
    left = 0.0 if qty == F[s, QTY] else regrid(F[s, QTY] - qty, steps)
    F[s, QTY] = left
    F[s, ROOM] = max(F[s, ROOM] - qty * price, 0.0)
    A[A_TRADED] += qty * price
    if left > 0.0:
        return
    pnl = side * (F[s, EXIT_SUM] - F[s, ENTRY_SUM]) - F[s, FEES] + F[s, FUNDED]
    row = int(A[A_TRADES])
    if cfg[KEEP] > 0.0:
        better = pnl
        if ambiguous:
            at_target = sold + qty * F[s, TARGET]
            better = side * (at_target - F[s, ENTRY_SUM]) - (paid + qty * F[s, TARGET] * cfg[MAKER]) + F[s, FUNDED]
        for k, value in enumerate((F[s, ENTRY], F[s, EXIT], F[s, ENTERED], pnl, F[s, FEES], F[s, SLIPPED], F[s, FUNDED],
                                   F[s, RISK] * F[s, ENTERED], better)):
            trade_f[row, k] = value
        for k, whole in enumerate((s, side, W[s, OPENED], at, reason, W[s, ENTRY_BAR], b, W[s, FILLS], int(ambiguous))):
            trade_w[row, k] = whole
    A[A_TRADES] = row + 1
    A[A_FEES] += F[s, FEES]
    A[A_FUNDING] += F[s, FUNDED]
    if pnl > 0.0:
        A[A_WINS] += 1
        A[A_GAINS] += pnl
        A[A_STREAK] = 0
    elif pnl < 0.0:
        A[A_LOST] -= pnl
        A[A_STREAK] += 1
        if reason == 1 or reason == 3 or reason == 5:
            W[s, STOPPED] = b
        if cfg[STREAK] > 0.0 and A[A_STREAK] >= cfg[STREAK]:
            A[A_PAUSED] = at + cfg[PAUSE_MS]
            A[A_STREAK] = 0
    W[s, SIDE] = 0
    W[s, LEAVING] = -1
    A[A_LIVE] -= 1
    if W[s, P_SIDE] == side:
        W[s, P_SIDE] = 0
        A[A_LIVE] -= 1


@rule
def allowed_quantity(s, price, fee, cfg, A, F, W):
    """The tightest cap on what may be added at `price`: core/risk/sizing.py in one loop."""
    held = F[s, QTY] if W[s, SIDE] != 0 else 0.0
    funds, others, margin = F[s, P_EQUITY], 0.0, 0.0
    for k in range(len(F)):
        if W[k, SIDE] != 0:
            if k != s:
                others += F[k, QTY] * F[k, MARK]
            margin += F[k, QTY] * F[k, ENTRY] / cfg[LEVERAGE]
    most = cfg[POSITION_CAP] * funds / price - held
    most = min(most, (cfg[GROSS_CAP] * funds - others - held * price) / price)
    if cfg[SPOT] > 0.0:
        return min(most, A[A_CASH] / (price * (1.0 + fee)))
    return min(most, (funds - margin) / (price * (1.0 / cfg[LEVERAGE] + fee)))


@rule
def enter(s, b, ref, at, maker, inside, opened, cfg, A, F, W, grid, half, impact, stamp_first, stamp_end, stamp_time, refused):
    """Fill what may be filled of the pending entry in this bar; sized at its first fill."""
    side = W[s, P_SIDE]
    if W[s, SIDE] == -side:
        return  # the other side is not closed yet; the order waits
    W[s, P_TRIED] = b
    ticks, steps, smallest = grid[s, 0], grid[s, 1], grid[s, 2]
    sqrt_model, fraction = cfg[SQRT] > 0.0, cfg[FRACTION] > 0.0
    fee = cfg[MAKER] if maker else cfg[TAKER]
    price = ref if maker else market_price(ref, side > 0, half, ticks)
    stop, target, prices = F[s, P_STOP], F[s, P_TARGET], cfg[PRICES] > 0.0
    if prices:
        stop, target = price_level(price, stop, cfg[STOP_X], ticks, side), price_level(price, target, cfg[TARGET_X], ticks, side)
        if F[s, P_FILLED] == 0.0 and (side * (price - stop) <= 0.0 or side * (target - price) <= 0.0):  # never true of NaN
            refuse(A, refused, cfg[KEEP] > 0.0, b, opened, s, side, 19)
            W[s, P_SIDE] = 0
            A[A_LIVE] -= 1
            return
    allowed = allowed_quantity(s, price, fee, cfg, A, F, W)
    total = F[s, P_TOTAL]
    if total != total:
        if cfg[SIZING] == 0.0:
            distance = stop if stop == stop else F[s, P_TRAIL]
            if fraction:
                distance = distance * price
            level = stop if prices and stop == stop else price - side * distance
            total = cfg[SIZE] * F[s, P_EQUITY] / (abs(price - level) + (cfg[TAKER] + half) * (price + level))
        elif cfg[SIZING] == 1.0:
            total = cfg[SIZE] * F[s, P_EQUITY] / (price * (1.0 + fee))
        else:
            total = cfg[SIZE]
        total = floor_quantity(min(total * F[s, P_SCALE], allowed), steps)
        F[s, P_TOTAL] = total
    left = floor_quantity(min(total - F[s, P_FILLED], allowed), steps)
    if (not left > 0.0) or left * price < smallest:
        if F[s, P_FILLED] == 0.0:
            refuse(A, refused, cfg[KEEP] > 0.0, b, opened, s, side, 12)
        W[s, P_SIDE] = 0
        A[A_LIVE] -= 1
        return
    qty = min(left, floor_quantity(F[s, ROOM] / price, steps))
    if sqrt_model and not maker:
        price = market_price(ref, side > 0, half + impact * math.sqrt(qty * ref), ticks)
        qty = min(qty, floor_quantity(allowed_quantity(s, price, fee, cfg, A, F, W), steps))
    if (not qty > 0.0) or qty * price < smallest:
        return  # too little is traded in this bar: carried
    if W[s, SIDE] == 0:
        for k in range(MARK):
            F[s, k] = 0.0
        W[s, SIDE] = side
        W[s, OPENED] = at
        W[s, ENTRY_BAR] = b
        W[s, TRAILED] = 0
        W[s, FILLS] = 0
        W[s, LEAVING] = -1
        A[A_LIVE] += 1
    paid = qty * price * fee
    if cfg[SPOT] > 0.0:
        A[A_CASH] -= qty * price + paid
    else:
        A[A_CASH] -= paid
    if F[s, QTY] > 0.0:
        F[s, ENTRY] = (F[s, ENTRY] * F[s, QTY] + price * qty) / (F[s, QTY] + qty)
    else:
        F[s, ENTRY] = price
    if cfg[SPOT] == 0.0:
        F[s, LIQUIDATED] = liquidation_price(F[s, ENTRY], cfg[LEVERAGE], grid[s, 3], side)
    F[s, QTY] = regrid(F[s, QTY] + qty, steps)
    F[s, ENTERED] += qty
    F[s, ENTRY_SUM] += qty * price
    F[s, FEES] += paid
    F[s, SLIPPED] += abs(price - ref) * qty
    W[s, FILLS] += 1
    F[s, ROOM] -= qty * price
    A[A_TRADED] += qty * price
    if W[s, FILLS] == 1:
        unit = price if fraction else 1.0
        if prices:
            stop, target = (price_level(price, F[s, P_STOP], cfg[STOP_X], ticks, side),
                            price_level(price, F[s, P_TARGET], cfg[TARGET_X], ticks, side))
        else:
            stop = exit_level(price, -(stop * unit), ticks, side) if stop == stop else stop
            target = exit_level(price, target * unit, ticks, side) if target == target else target
        F[s, STOP] = stop
        F[s, TARGET] = target
        F[s, TRAIL] = F[s, P_TRAIL] * unit
        F[s, EXTREME] = price
        F[s, UNIT] = unit
        ratchet(s, ticks, F, W)
        F[s, RISK] = abs(price - F[s, STOP])
        W[s, INSIDE] = b if inside else -1
        k = stamp_first
        while k < stamp_end and stamp_time[k] <= at:
            k += 1
        W[s, STAMP] = k
    if qty == left:
        W[s, P_SIDE] = 0
        A[A_LIVE] -= 1
    else:
        F[s, P_FILLED] += qty


@rule
def move_stop(s, best, trail, close, distance, ticks, F, W):
    """At a close: the trailing distance known there, the stop after the best price, and to `distance` from the close after a break."""
    side, moved = W[s, SIDE], False
    if trail == trail:
        F[s, TRAIL] = trail * F[s, UNIT]
        moved = True
    if side * (best - F[s, EXTREME]) > 0.0:
        F[s, EXTREME] = best
        moved = True
    if moved:
        ratchet(s, ticks, F, W)
    if distance == distance:
        level = trailing_level(close, distance, ticks, side)
        if side * (level - F[s, STOP]) > 0.0:
            F[s, STOP] = level
            W[s, TRAILED] = 0


@rule
def refusal(s, b, side, moment, equity, killed, day_start, stop, trail, veto, own_veto, half, scale, cfg, A, W):
    """The first limit that forbids an entry, in the order of core/risk/limits.py, or 0."""
    if equity <= 0.0:
        return 14
    if killed:
        return 1
    if cfg[DAILY_LOSS] >= 0.0 and equity <= day_start * (1.0 - cfg[DAILY_LOSS]):
        return 2
    if cfg[STREAK] > 0.0 and moment < A[A_PAUSED]:
        return 3
    if b - W[s, STOPPED] < cfg[COOLDOWN]:
        return 4
    if veto != 0:
        return veto
    if own_veto > 0.0:
        return 7
    if cfg[SIZING] == 0.0 and not (stop > 0.0 or (stop != stop and trail > 0.0)):
        return 8
    if half != half:
        return 9
    if scale != scale:
        return 10
    others = 0
    for k in range(len(W)):
        if k != s and (W[k, SIDE] != 0 or W[k, P_SIDE] != 0):
            others += 1
    return 11 if others >= cfg[MAX_POSITIONS] else 0


@rule
def ratchet(s, ticks, F, W):
    """The trailing stop follows the best price, and never goes back."""
    if F[s, TRAIL] == F[s, TRAIL]:
        level = trailing_level(F[s, EXTREME], F[s, TRAIL], ticks, W[s, SIDE])
        if F[s, STOP] != F[s, STOP] or W[s, SIDE] * (level - F[s, STOP]) > 0.0:
            F[s, STOP] = level
            W[s, TRAILED] = 1
