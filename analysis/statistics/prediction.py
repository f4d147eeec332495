"""Does a score go with what came after it? Rank information coefficient with honest intervals, quintiles, hit rate (methods.md 4).

Scores and outcomes are arrays over the same bars. Rows where either is NaN are left out and the others keep their order.
Outcomes over h bars overlap, so n rows are worth about n/h; nothing here forgets that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from analysis.statistics.blocks import mean_interval
from analysis.statistics.multiplicity import wilson

SHIFT_MARGIN = 20  # a shift closer than this to no shift at all is still the same pairing
BUCKETS = 5


class Ordered:
    """A series and its ascending order, found once, so that ranks within any subset of rows need no second sort.

    `values` of shape (n,); NaN rows are in no subset.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, float)
        self.known = np.isfinite(self.values)
        rows = np.flatnonzero(self.known)
        self._order = rows[np.argsort(self.values[rows], kind="stable")]
        ascending = self.values[self._order]
        self._tied = bool(np.any(ascending[1:] == ascending[:-1]))

    def ranks(self, rows: np.ndarray) -> np.ndarray:
        """Mid-ranks 0..m-1 among the m rows where the mask `rows` is True, in time order."""
        kept = self._order[rows[self._order]]
        place = np.empty(len(rows), np.int64)
        place[kept] = np.arange(len(kept))
        rank = place[rows].astype(float)
        if self._tied and len(kept):
            ascending = self.values[kept]
            first = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))
            size = np.diff(np.append(first, len(kept)))
            rank = np.repeat(first + (size - 1) / 2.0, size)[place[rows]]
        return rank


def standardised(ranks: np.ndarray) -> np.ndarray:
    """Mean 0, variance 1 (ddof=0); all NaN where the ranks do not vary."""
    centered = ranks - ranks.mean() if len(ranks) else ranks
    spread = math.sqrt(float(centered @ centered) / len(ranks)) if len(ranks) else 0.0
    return centered / spread if spread > 0 else np.full(len(ranks), np.nan)


@dataclass(frozen=True)
class Coefficient:
    """A rank information coefficient. `low`, `high`: 95 % interval; `p_value`: circular shifts; `n_eff` = n / horizon.

    NaN where it cannot be computed: a side that does not vary, or too few rows for an interval or a shift.
    """

    ic: float
    low: float
    high: float
    p_value: float
    n: int
    n_eff: float
    lag: int = 0
    shifts: int = 0

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass
class Paired:
    """Standardised ranks of the outcome on some rows, and their spectrum, shared by all scores known on the same rows."""

    y: np.ndarray
    _spectrum: dict[int, np.ndarray] = field(default_factory=dict)

    def spectrum(self, size: int) -> np.ndarray:
        from scipy.fft import rfft

        if size not in self._spectrum:
            self._spectrum[size] = rfft(self.y, size)
        return self._spectrum[size]


def hac_lag(n: int, horizon: int) -> int:
    """`max(2h, ceil(1.3 sqrt n))`, at most n/4 (Lazarus, Lewis, Stock & Watson 2018)."""
    return min(max(2 * horizon, math.ceil(1.3 * math.sqrt(n))), n // 4)


def long_run_variance(u: np.ndarray, lag: int) -> float:
    """Bartlett: `g_0 + 2 sum_{k=1..L} (1 - k/(L+1)) g_k`, `g_k = sum u_t u_{t+k} / n`, u already centered; statsmodels' S_hac / n.

    The kernel is a box convolved with itself, so it equals the mean square of sums over L+1 rows (zeros outside): one cumulative sum.

    References
    ----------
    Newey & West (1987), "A Simple, Positive Semi-definite, Heteroskedasticity and Autocorrelation Consistent Covariance Matrix".
    """
    n = len(u)
    total = np.concatenate((np.zeros(lag + 1), np.cumsum(u), np.full(lag, u.sum())))
    sums = total[lag + 1 :] - total[: n + lag]
    return float(sums @ sums) / ((lag + 1) * n)


def fixed_b_critical(share: float) -> float:
    """Two-sided 95 % critical value of a Bartlett HAC t with bandwidth `share` = L/n (Kiefer & Vogelsang 2005)."""
    return 1.96 + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3


def shift_coefficients(x: np.ndarray, y: np.ndarray | Paired) -> np.ndarray:
    """`mean_t(x_{t+s} y_t)` for every circular shift s = 0..n-1, by FFT padded to a good length. Shape (n,)."""
    from scipy.fft import irfft, next_fast_len, rfft

    paired = y if isinstance(y, Paired) else Paired(np.asarray(y, float))
    n = len(x)
    if next_fast_len(n, real=True) == n:
        return irfft(rfft(x) * paired.spectrum(n).conj(), n) / n
    size = next_fast_len(2 * n - 1, real=True)
    linear = irfft(rfft(x, size) * paired.spectrum(size).conj(), size)
    linear[1:n] += linear[size - n + 1 :]
    return linear[:n] / n


def shift_p_value(x: np.ndarray, y: np.ndarray | Paired, horizon: int, memory: int = 0) -> tuple[float, int]:
    """`(1 + #{|IC_s| >= |IC|}) / (S + 1)` over all shifts in `[m, n-m]`, m = max(20, 2h), and S; NaN without a shift.

    Keeps both sides' own autocorrelation and breaks only the link between them. A score built from the last `memory` bars of the
    price it is held against has seen the outcome once it is moved up to h + memory bars later: those pairings are no null, they put a
    floor under p, and with `memory` they are left out (at most a quarter of all). 0 is the plain test.
    """
    n, margin = len(x), max(SHIFT_MARGIN, 2 * horizon)
    first = max(margin, min(horizon + memory, n // 4)) if memory else margin
    count = n - margin - first + 1
    if count < 1:
        return math.nan, 0
    found = np.abs(shift_coefficients(x, y))
    return (1 + int(np.sum(found[first : n - margin + 1] >= found[0] - 1e-12))) / (count + 1), count


def coefficient(x: np.ndarray, y: np.ndarray | Paired, horizon: int, memory: int = 0) -> Coefficient:
    """Everything about one pair of standardised rank series without NaN, shape (n,)."""
    paired = y if isinstance(y, Paired) else Paired(y)
    n = len(x)
    if n < 2 or not math.isfinite(x[0]) or not math.isfinite(paired.y[0]):
        return Coefficient(math.nan, math.nan, math.nan, math.nan, n, n / horizon)
    u = x * paired.y
    ic = float(u.mean())
    low = high = math.nan
    lag = hac_lag(n, horizon)
    if lag >= 1:
        half = fixed_b_critical(lag / n) * math.sqrt(long_run_variance(u - ic, lag) / n)
        low, high = ic - half, ic + half
    p_value, shifts = shift_p_value(x, paired, horizon, memory)
    return Coefficient(ic, low, high, p_value, n, n / horizon, lag, shifts)


def rank_ic(score: np.ndarray, outcome: np.ndarray, horizon: int, *, memory: int = 0) -> Coefficient:
    """Spearman's rho of a score and the outcome over the next `horizon` bars, with a HAC interval and a circular-shift p-value.

    Parameters
    ----------
    score, outcome : ndarray of shape (n,)
        Row t: what was known at t, and what followed it. NaN rows are left out.
    horizon : int
        Bars the outcome spans.
    memory : int
        Bars of the outcome's own price the score is built from; see `shift_p_value`.

    References
    ----------
    Kiefer & Vogelsang (2005), "A new asymptotic theory for heteroskedasticity-autocorrelation robust tests".
    """
    x, y = Ordered(score), Ordered(outcome)
    rows = x.known & y.known
    return coefficient(standardised(x.ranks(rows)), standardised(y.ranks(rows)), horizon, memory)


@dataclass(frozen=True)
class Quintiles:
    """Mean outcome by fifth of the score. `spread` = Q5 - Q1, in the outcome's unit; `monotonicity` in [-1, 1]."""

    means: tuple[float, ...]
    spread: float
    low: float
    high: float
    monotonicity: float


def quintiles(ranks: np.ndarray, outcome: np.ndarray, horizon: int) -> Quintiles:
    """Mean outcome in each fifth of the score's mid-ranks 0..n-1.

    The interval of the spread is the stationary bootstrap's, blocks of max(2h, Politis-White), in its closed form for the
    linearised spread (`blocks.mean_error`). Ties can leave a fifth empty: its mean is NaN, and the spread where it is needed.
    """
    n = len(ranks)
    if n == 0:
        return Quintiles((math.nan,) * BUCKETS, math.nan, math.nan, math.nan, math.nan)
    bucket = np.minimum((BUCKETS * (ranks + 0.5) / n).astype(np.int64), BUCKETS - 1)
    size = np.bincount(bucket, minlength=BUCKETS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(bucket, outcome, minlength=BUCKETS) / size
    spread = float(mean[-1] - mean[0])
    low = high = math.nan
    if math.isfinite(spread):
        scale = np.zeros(BUCKETS)
        scale[0], scale[-1] = -n / size[0], n / size[-1]
        influence = scale[bucket] * (outcome - mean[bucket])
        below, above = mean_interval(influence, shortest=2 * horizon)
        low, high = spread + below, spread + above
    held = mean[np.isfinite(mean)]
    rise = math.nan
    if len(held) >= 3:
        a = standardised(np.arange(len(held), dtype=float))
        b = standardised(Ordered(held).ranks(np.ones(len(held), bool)))
        rise = float((a * b).mean())
    return Quintiles(tuple(float(m) for m in mean), spread, low, high, rise)


@dataclass(frozen=True)
class HitRate:
    """Share of rows whose outcome had the sign the score called, with Wilson's interval on n / h trials."""

    share: float
    low: float
    high: float
    calls: int


def hit_rate(lean: np.ndarray, outcome: np.ndarray, horizon: int) -> HitRate:
    """`lean` = score minus its neutral, times the expected sign. Rows where either is exactly 0 or unknown call nothing."""
    product = lean * outcome
    hits = int(np.sum(product > 0))
    calls = hits + int(np.sum(product < 0))
    share = hits / calls if calls else math.nan
    return HitRate(share, *wilson(share, calls / horizon), calls)


def grouped_ic(x: np.ndarray, y: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation, inside each group, of ranks taken over the whole sample; and rows a group.

    `group` holds numbers 0..groups-1 (negative: in none). Ranks are not taken anew inside: a group is compared on the scale
    of all rows, and one sort serves every grouping. NaN for fewer than 3 rows or a side that does not vary there.
    """
    inside = group >= 0
    if not inside.all():
        x, y, group = x[inside], y[inside], group[inside]
    size = np.bincount(group, minlength=groups)
    present = np.flatnonzero(size)
    runs = np.flatnonzero(np.diff(group)) + 1
    in_order = len(runs) == len(present) - 1 and bool(np.all(group[runs] > group[runs - 1]))

    def total(v: np.ndarray) -> np.ndarray:
        if not in_order:
            return np.bincount(group, v, minlength=groups)
        out = np.zeros(groups)  # periods and quarters follow one another: their sums need no scatter
        out[present] = np.add.reduceat(v, np.concatenate(([0], runs)))
        return out

    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my, xy, xx, yy = (total(v) / size for v in (x, y, x * y, x * x, y * y))
        vx, vy = xx - mx * mx, yy - my * my
        ic = np.where((size >= 3) & (vx > 1e-12) & (vy > 1e-12), (xy - mx * my) / np.sqrt(vx * vy), np.nan)
    return ic, size


def half_life(horizons: np.ndarray, ic: np.ndarray) -> float:
    """The horizon at which |IC| has fallen to half of its largest value, interpolated on a log scale after the peak.

    In the unit of `horizons` (growing). NaN where it does not fall so far on the horizons given.
    """
    size = np.abs(np.asarray(ic, float))
    if not np.isfinite(size).any():
        return math.nan
    peak = int(np.nanargmax(size))
    half = size[peak] / 2
    last = peak
    for i in range(peak + 1, len(size)):
        if not math.isfinite(size[i]):
            continue
        if size[i] <= half:
            share = (size[last] - half) / (size[last] - size[i])
            a, b = math.log(horizons[last]), math.log(horizons[i])
            return math.exp(a + share * (b - a))
        last = i
    return math.nan


def turnover(score: np.ndarray, segment: np.ndarray, bars: int = 1) -> float:
    """`mean |S_t - S_{t-bars}|` over rows of one gap-free segment, in the score's unit; NaN without a pair."""
    if len(score) <= bars:
        return math.nan
    change = np.abs(score[bars:] - score[:-bars])
    kept = change[(segment[bars:] == segment[:-bars]) & np.isfinite(change)]
    return float(kept.mean()) if len(kept) else math.nan


@dataclass(frozen=True)
class CrossSection:
    """Rank IC across symbols bar by bar: its mean, and `icir = mean / sd * sqrt(bars / horizon)`."""

    mean_ic: float
    icir: float
    bars: int


class Across:
    """A matrix of shape (bars, symbols) and its ranks inside each bar, found once; NaN is unknown."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, float)
        self.known = np.isfinite(self.values)
        self._rank = _row_ranks(self.values, self.known)

    def ranks(self, bars: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Centered ranks of the chosen bars among the known ones; only bars where other symbols are known are ranked anew."""
        rank = self._rank[bars]
        other = (known != self.known[bars]).any(axis=1)
        if other.any():
            rank[other] = _row_ranks(self.values[bars][other], known[other])
        return rank


def _row_ranks(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    rank = np.where(known, rankdata(np.where(known, values, np.inf), axis=1), 0.0)  # unknown ones rank above all others
    mean = rank.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, rank - mean[:, None], 0.0)


def cross_sectional(scores: np.ndarray | Across, outcomes: np.ndarray | Across, horizon: int, *, minimum: int = 5) -> CrossSection:
    """Spearman's rho over symbols at every bar with at least `minimum` known ones. Arrays of shape (bars, symbols), NaN unknown."""
    scores = scores if isinstance(scores, Across) else Across(scores)
    outcomes = outcomes if isinstance(outcomes, Across) else Across(outcomes)
    known = scores.known & outcomes.known
    bars = np.flatnonzero(known.sum(axis=1) >= minimum)
    known = known[bars]
    x, y = scores.ranks(bars, known), outcomes.ranks(bars, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        ic = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    ic = ic[np.isfinite(ic)]
    if len(ic) < 2:
        return CrossSection(math.nan, math.nan, len(ic))
    spread = float(ic.std(ddof=1))
    return CrossSection(float(ic.mean()), float(ic.mean() / spread * math.sqrt(len(ic) / horizon)) if spread > 0 else math.nan, len(ic))
