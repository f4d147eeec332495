"""The option chain in a few numbers: volatility at 30 days, its skew at 25 delta, the 30-day index, gamma exposure.

Everything by Black-76 on the forward that put-call parity implies, without interest. Years count 365 days. Snapshots are chains that
became known together; volatilities of two expiries are joined in total variance (iv^2 T), never extrapolated beyond them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from analysis.remembered import Remembered, seals_of
from data.market import DAY_MS, HOUR_MS, MINUTE_MS
from data.observations import Observations

YEAR_MS = 365 * DAY_MS
HORIZON_DAYS = 30.0
WING_DELTA = 0.25
GAMMA_DAYS = 60.0
SNAPSHOT_GAP_MS = 10 * MINUTE_MS  # rows further apart belong to two snapshots
INTEREST_MAY_LAG_MS = 3 * HOUR_MS
FEWEST_STRIKES = 5
SNAPSHOTS_REMEMBERED = 4_096  # two symbols, every hour of a month, three figures each
GAMMA_CONVENTION = ("assumes dealers are long calls and short puts, so that a positive exposure damps moves; an equity "
                    "convention, unverified for crypto")


_surfaces: Remembered[Surface] = Remembered(SNAPSHOTS_REMEMBERED)
_figures: Remembered[float] = Remembered(SNAPSHOTS_REMEMBERED)


def black76_d1(forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """`(ln(F/K) + sigma^2 T / 2) / (sigma sqrt T)`."""
    spread = sigma * np.sqrt(years)
    return np.log(forward / strike) / spread + 0.5 * spread


def black76_gamma(forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Second derivative of the option's price by the forward, per unit squared: `phi(d1) / (F sigma sqrt T)`; calls and puts alike.

    References
    ----------
    Black (1976), "The pricing of commodity contracts".
    """
    d1 = black76_d1(forward, strike, years, sigma)
    return np.exp(-0.5 * d1**2) / math.sqrt(2 * math.pi) / (forward * sigma * np.sqrt(years))


def black76_price(forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray, is_call: np.ndarray) -> np.ndarray:
    """Undiscounted price; puts by parity, `C - P = F - K`."""
    from scipy.special import ndtr

    d1 = black76_d1(forward, strike, years, sigma)
    call = forward * ndtr(d1) - strike * ndtr(d1 - sigma * np.sqrt(years))
    return np.where(is_call, call, call - forward + strike)


def forward_delta(forward: np.ndarray, strike: np.ndarray, years: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Delta of the call by its forward, N(d1) in (0, 1); that of the put is one less."""
    from scipy.special import ndtr

    return ndtr(black76_d1(forward, strike, years, sigma))


@dataclass(frozen=True)
class Smile:
    """One expiry of one snapshot: strikes ascending, volatility and out-of-the-money price of each."""

    years: float
    forward: float
    strike: np.ndarray
    iv: np.ndarray
    otm: np.ndarray

    def at_delta(self, delta: float) -> float:
        """Volatility where the call's forward delta is `delta`, by a line in delta; NaN outside the quoted strikes."""
        x = forward_delta(np.full(len(self.strike), self.forward), self.strike, np.full(len(self.strike), self.years), self.iv)[::-1]
        # Stale far quotes can turn the order of deltas round: only the orderly stretch around the money is read.
        middle = int(np.argmin(np.abs(x - 0.5)))
        wrong = np.flatnonzero(np.diff(x) <= 0)
        first = int(wrong[wrong < middle][-1]) + 1 if np.any(wrong < middle) else 0
        last = int(wrong[wrong >= middle][0]) + 1 if np.any(wrong >= middle) else len(x)
        if not x[first] <= delta <= x[last - 1]:
            return math.nan
        return float(np.interp(delta, x[first:last], self.iv[::-1][first:last]))

    def at_the_money(self) -> float:
        """Volatility at the forward, by a line in log-moneyness and total variance."""
        money = np.log(self.strike / self.forward)
        if not money[0] <= 0 <= money[-1]:
            return math.nan
        return float(np.sqrt(np.interp(0.0, money, self.iv**2)))

    def variance(self) -> float:
        """Model-free variance per year, `2/T sum dK/K^2 Q(K) - (F/K0 - 1)^2 / T` (Cboe's white paper on the VIX, no interest)."""
        below = int(np.searchsorted(self.strike, self.forward, side="right")) - 1
        if below < 1 or below > len(self.strike) - 3:
            return math.nan
        width = np.gradient(self.strike)  # half of both neighbours, the whole step at the ends
        width[1:-1] = (self.strike[2:] - self.strike[:-2]) / 2.0
        total = float(np.sum(width / self.strike**2 * self.otm))
        return (2.0 * total - (self.forward / float(self.strike[below]) - 1.0) ** 2) / self.years


def snapshot_slices(observations: Observations) -> list[slice]:
    """Rows that became known together, oldest first."""
    if not len(observations):
        return []
    cuts = np.flatnonzero(np.diff(observations.available_time) > SNAPSHOT_GAP_MS) + 1
    edges = [0, *cuts.tolist(), len(observations)]
    return [slice(a, b) for a, b in pairwise(edges)]


def smiles_of(marks: Observations, rows: slice, *, around_days: float | None = None) -> list[Smile]:
    """The usable expiries of one snapshot, nearest first; with `around_days` only the two on either side of that term."""
    now = int(marks.available_time[rows][-1])
    expiry = marks["expiry_ms"][rows]
    live = np.unique(expiry[expiry > now + HOUR_MS])
    if around_days is not None:
        target = now + around_days * DAY_MS
        live = np.concatenate((live[live <= target][-1:], live[live > target][:1]))
    found = [_smile(marks, np.flatnonzero(expiry == when) + rows.start, (when - now) / YEAR_MS) for when in live]
    return [smile for smile in found if smile is not None]


def _smile(marks: Observations, rows: np.ndarray, years: float) -> Smile | None:
    strike, is_call = marks["strike"][rows], marks["is_call"][rows] > 0.5
    price, iv = marks["mark_price"][rows], marks["mark_iv"][rows]
    good = (strike > 0) & np.isfinite(price) & np.isfinite(iv) & (iv > 0)
    calls, puts = np.flatnonzero(good & is_call), np.flatnonzero(good & ~is_call)
    both, c, p = _common(strike[calls], strike[puts])
    if len(both) < FEWEST_STRIKES:
        return None
    call, put = price[calls][c], price[puts][p]
    nearest = int(np.argmin(np.abs(call - put)))
    forward = float(both[nearest] + call[nearest] - put[nearest])
    if not forward > 0:
        return None
    otm = np.where(both > forward, call, put)
    at = int(np.searchsorted(both, forward, side="right")) - 1
    if at >= 0:
        otm[at] = 0.5 * (call[at] + put[at])
    return Smile(years, forward, both, np.where(both > forward, iv[calls][c], iv[puts][p]), otm)


def _common(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`np.intersect1d` with its indices; chains that list calls and puts of the same strikes in order need no search."""
    if len(a) == len(b) and len(a) and np.array_equal(a, b) and bool((a[1:] > a[:-1]).all()):
        each = np.arange(len(a))
        return a, each, each
    return np.intersect1d(a, b, return_indices=True)


def chain_seals(marks: Observations) -> list[bytes]:
    """What stands for the content of each snapshot, wherever in a history it lies."""
    columns = [marks[name] for name in ("expiry_ms", "strike", "is_call", "mark_price", "mark_iv")]
    return seals_of([marks.available_time, *columns], snapshot_slices(marks))


def in_total_variance(near: tuple[float, float], far: tuple[float, float], years: float) -> float:
    """Volatility at a term between two (years, volatility), linear in iv^2 T. NaN outside.

    >>> round(in_total_variance((0.05, 0.5), (0.15, 0.5), 0.1), 12)
    0.5
    """
    (t1, iv1), (t2, iv2) = near, far
    if not t1 <= years <= t2 or t2 <= t1:
        return iv1 if t1 == years else math.nan
    total = np.interp(years, (t1, t2), (iv1**2 * t1, iv2**2 * t2))
    return math.sqrt(total / years) if total >= 0 else math.nan


@dataclass(frozen=True)
class Surface:
    """One snapshot at 30 days; volatilities are fractions per year, NaN where the chain does not reach."""

    at_ms: int
    atm: float
    call_25: float
    put_25: float
    forward: float

    @property
    def skew(self) -> float:
        """Volatility of the 25-delta call minus that of the 25-delta put: above 0, the upside costs more."""
        return self.call_25 - self.put_25

    @property
    def relative_skew(self) -> float:
        """(put - call) / at the money, the spelling usual among equity traders."""
        return -self.skew / self.atm if self.atm > 0 else math.nan


def surface(marks: Observations, rows: slice) -> Surface:
    """The snapshot in `rows`, brought to 30 days."""
    at = int(marks.available_time[rows][-1])
    pair = smiles_of(marks, rows, around_days=HORIZON_DAYS)
    nan = math.nan
    if not pair:
        return Surface(at, nan, nan, nan, nan)
    near, far = pair[0], pair[-1]
    years = HORIZON_DAYS / 365.0

    def joined(of_near: float, of_far: float) -> float:
        return in_total_variance((near.years, of_near), (far.years, of_far), years)

    return Surface(at, joined(near.at_the_money(), far.at_the_money()), joined(near.at_delta(WING_DELTA), far.at_delta(WING_DELTA)),
                   joined(near.at_delta(1 - WING_DELTA), far.at_delta(1 - WING_DELTA)), near.forward)


def surfaces(marks: Observations, seals: list[bytes] | None = None) -> list[Surface]:
    """Every snapshot, oldest first; `seals` are `chain_seals` where they are known already."""
    found = snapshot_slices(marks)
    return [_surfaces.get(seal, partial(surface, marks, rows))
            for seal, rows in zip(chain_seals(marks) if seals is None else seals, found, strict=True)]


def iv30(marks: Observations) -> float:
    """The 30-day index of the newest snapshot: model-free volatility, fraction per year; NaN where no two expiries enclose 30 days."""
    found = snapshot_slices(marks)
    return _index(marks, found[-1]) if found else math.nan


def iv30_series(marks: Observations) -> tuple[np.ndarray, np.ndarray]:
    """(available_time, 30-day index) of every snapshot."""
    found = snapshot_slices(marks)
    moments = np.array([marks.available_time[rows][-1] for rows in found], np.int64)
    index = [_figures.get(b"index" + seal, partial(_index, marks, rows))
             for seal, rows in zip(chain_seals(marks), found, strict=True)]
    return moments, np.array(index, float)


def _index(marks: Observations, rows: slice) -> float:
    pair = smiles_of(marks, rows, around_days=HORIZON_DAYS)
    if not pair:
        return math.nan
    roots = [math.sqrt(v) if (v := smile.variance()) > 0 else math.nan for smile in (pair[0], pair[-1])]
    return in_total_variance((pair[0].years, roots[0]), (pair[-1].years, roots[1]), HORIZON_DAYS / 365.0)


def gamma_exposure(marks: Observations, interest: Observations, seals: list[bytes] | None = None) -> np.ndarray:
    """Gamma exposure of every snapshot of `marks`: `sum gamma (OI_call - OI_put) S^2 0.01` over expiries within 60 days.

    In quote currency (taken as US dollars) that dealers would have to trade per 1 % move, S the forward of each expiry, one unit of the
    underlying a contract. Open interest is the newest snapshot known by then, at most three hours older; NaN without one. See
    `GAMMA_CONVENTION` for what the sign assumes (SqueezeMetrics 2017).
    """
    chains, held = snapshot_slices(marks), snapshot_slices(interest)
    out = np.full(len(chains), np.nan)
    known = np.array([interest.available_time[rows][-1] for rows in held], np.int64)
    mark_seal = chain_seals(marks) if seals is None else seals
    held_seal = seals_of([interest[name] for name in ("expiry_ms", "strike", "is_call", "contracts")], held)

    def exposure(rows: slice, at: int, other: slice) -> float:
        return _exposure(marks, rows, at, _contract_keys(marks, rows), _contract_keys(interest, other), interest["contracts"][other])

    for i, rows in enumerate(chains):
        at = int(marks.available_time[rows][-1])
        j = int(np.searchsorted(known, at, side="right")) - 1
        if j < 0 or at - known[j] > INTEREST_MAY_LAG_MS:
            continue
        out[i] = _figures.get(b"gamma" + mark_seal[i] + held_seal[j], partial(exposure, rows, at, held[j]))
    return out


def _contract_keys(observations: Observations, rows: slice) -> np.ndarray:
    """One whole number a contract: its expiry's hour, its strike in hundredths, call or put."""
    hour, cents = observations["expiry_ms"][rows] // HOUR_MS, np.rint(observations["strike"][rows] * 100)
    return (hour.astype(np.int64) * 10**10 + cents.astype(np.int64)) * 2 + (observations["is_call"][rows] > 0.5)


def _exposure(marks: Observations, rows: slice, at: int, keys: np.ndarray, held_keys: np.ndarray, contracts: np.ndarray) -> float:
    order = np.argsort(held_keys, kind="stable")
    place = np.minimum(np.searchsorted(held_keys[order], keys), len(order) - 1)
    count = np.where(held_keys[order][place] == keys, contracts[order][place], np.nan)
    expiry, strike, iv = marks["expiry_ms"][rows], marks["strike"][rows], marks["mark_iv"][rows]
    years = (expiry - at) / YEAR_MS
    forward = np.full(len(keys), np.nan)
    price, is_call = marks["mark_price"][rows], marks["is_call"][rows] > 0.5
    for when in np.unique(expiry[(years > 0) & (years <= GAMMA_DAYS / 365.0)]):
        of = np.flatnonzero(expiry == when)
        calls, puts = of[is_call[of]], of[~is_call[of]]
        both, c, p = _common(strike[calls], strike[puts])
        if len(both):
            apart = price[calls][c] - price[puts][p]
            if np.isfinite(apart).any():
                nearest = int(np.nanargmin(np.abs(apart)))
                forward[of] = both[nearest] + apart[nearest]
    good = np.isfinite(count) & np.isfinite(iv) & (iv > 0) & (forward > 0) & (years > 0) & (strike > 0)
    if not good.any():
        return math.nan
    gamma = black76_gamma(forward[good], strike[good], years[good], iv[good])
    sign = np.where(is_call[good], 1.0, -1.0)
    return float(np.sum(gamma * sign * count[good] * forward[good] ** 2 * 0.01))
