"""Rows a model learns from and rows it is asked about: features, labels with their spans, sample weights; one symbol or several pooled.

The same function makes the rows of a training and of a forecast. Unknown features stay NaN; a row whose future is not known is not
a training row. Rows are ordered by close time, then by symbol, so that every split is a split in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from data.errors import InputError, NoData
from data.features import NAMES, SERVING_BARS, feature_table
from data.frames import Candles
from data.indicators import ewma_volatility
from data.labels import ROUND_TRIP, LabelConfig, events, label_kind, make_labels
from data.market import DAY_MS, Interval, did_you_mean

LEAST_ROWS = 500  # below it no fold has enough to learn from
LARGEST_CLASS_WEIGHT = 5.0
DECAY_DAYS = 180.0
SAMPLINGS = ("all", "events")
Extra = Mapping[str, Mapping[str, np.ndarray]]  # symbol -> name -> one value a bar


@dataclass(frozen=True)
class Rows:
    """What is known at the close of some bars.

    Attributes
    ----------
    X : ndarray of float64, shape (rows, features)
        Columns as in `names`; NaN is unknown.
    close_time : ndarray of int64
        When the row became known, UTC milliseconds.
    symbol, bar : ndarray of int64
        Position in `symbols`, and number of the bar in that symbol's candles.
    sigma : ndarray
        EWMA .94 volatility of the horizon, a fraction.
    past : ndarray
        Return over the last `horizon` bars, a fraction.
    returns : tuple of ndarray
        Log returns of all bars of each symbol, for forecasters that filter a series.
    """

    names: tuple[str, ...]
    X: np.ndarray
    close_time: np.ndarray
    symbol: np.ndarray
    bar: np.ndarray
    sigma: np.ndarray
    past: np.ndarray
    symbols: tuple[str, ...]
    interval: Interval
    horizon: int
    returns: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.close_time)

    def column(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise InputError(f"expected a feature of this table, got {name[:40]!r}{did_you_mean(name, list(self.names))}")
        return self.X[:, self.names.index(name)]

    def take(self, rows: np.ndarray | slice) -> Rows:
        return replace(self, **{name: getattr(self, name)[rows] for name in ("X", "close_time", "symbol", "bar", "sigma", "past")})

    @property
    def coverage(self) -> np.ndarray:
        """Share of known features in each row."""
        return np.isfinite(self.X).mean(axis=1)


@dataclass(frozen=True)
class Dataset:
    """Rows with known outcomes. `y` holds classes or numbers; `ret` the return a trade would make before costs.

    `t0`, `t1`: span of the label in UTC milliseconds; `end`: number of the bar at which it is decided. `classes` is empty for regression.
    """

    rows: Rows
    y: np.ndarray
    ret: np.ndarray
    t0: np.ndarray
    t1: np.ndarray
    end: np.ndarray
    label: str
    task: str
    classes: tuple[int, ...]
    cost: float

    def __len__(self) -> int:
        return len(self.y)

    @property
    def horizon(self) -> int:
        return self.rows.horizon

    def take(self, rows: np.ndarray | slice) -> Dataset:
        return replace(self, rows=self.rows.take(rows), **{n: getattr(self, n)[rows] for n in ("y", "ret", "t0", "t1", "end")})

    def codes(self) -> np.ndarray:
        """Position of each outcome in `classes`."""
        return np.searchsorted(np.array(self.classes), self.y.astype(np.int64))

    def weights(self, *, decay_days: float = DECAY_DAYS, class_weights: bool = True) -> np.ndarray:
        """Average uniqueness times `0.5^(age/decay_days)`, times class weights of at most 5; mean 1.

        Taken over these rows alone: a training part weighs its rows without looking at the test part.
        """
        unique = average_uniqueness(self.rows.symbol, self.rows.bar + 1, self.end)
        age = (self.t0.max() - self.t0) / DAY_MS
        out = unique * 0.5 ** (age / decay_days)
        if class_weights and self.classes:
            codes = self.codes()
            share = np.bincount(codes, minlength=len(self.classes)) * len(self.classes) / len(codes)
            out = out * np.minimum(1.0 / np.maximum(share, 1e-12), LARGEST_CLASS_WEIGHT)[codes]
        return out / out.mean()


def average_uniqueness(group: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Mean over a label's bars of 1 over the number of labels that use the bar, shape (rows,), in (0, 1].

    `start`, `end` are the first and last bar of each span (inclusive), counted inside each group (symbol).

    References
    ----------
    Lopez de Prado (2018), "Advances in Financial Machine Learning", 4.3-4.4.
    """
    out = np.ones(len(start))
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        first, last = start[rows] - start[rows].min(), np.maximum(end[rows], start[rows]) - start[rows].min()
        change = np.zeros(int(last.max()) + 2)
        np.add.at(change, first, 1.0)
        np.add.at(change, last + 1, -1.0)
        using = np.cumsum(change)[:-1]
        share = np.concatenate(([0.0], np.cumsum(np.where(using > 0, 1.0 / np.maximum(using, 1.0), 0.0))))
        out[rows] = (share[last + 1] - share[first]) / (last + 1 - first)
    return out


def make_rows(candles: Mapping[str, Candles], horizon: int, *, features: tuple[str, ...] | None = None, extra: Extra | None = None) -> Rows:
    """One row a bar of every symbol.

    Parameters
    ----------
    candles : mapping of symbol to Candles
        All of one interval.
    features : tuple of str or None
        Which columns, in this order; None for all 37 and then the extra ones.
    extra : mapping of symbol to name to ndarray of shape (bars,), or None
        More columns, each known at its bar's close. A symbol without one gets NaN.

    Raises
    ------
    InputError
        No symbol, mixed intervals, unknown names, an extra column of another length.
    """
    if not candles:
        raise InputError("expected candles of at least one symbol, got none")
    intervals = {c.interval for c in candles.values()}
    if len(intervals) > 1:
        raise InputError(f"expected candles of one interval, got {', '.join(sorted(intervals))}; train one model per interval")
    added = tuple(dict.fromkeys(name for columns in (extra or {}).values() for name in columns))
    names = features if features is not None else NAMES + added
    unknown = [n for n in names if n not in NAMES and n not in added]
    if unknown or len(set(names)) != len(names) or not names:
        known = list(NAMES + added)
        raise InputError(f"expected different feature names, got {', '.join(n[:30] for n in unknown) or 'a repeated or empty list'}"
                         f"{did_you_mean(unknown[0], known) if unknown else ''}; known are {', '.join(known[:5])}, ...")
    parts = [_of_symbol(c, horizon, names, (extra or {}).get(s, {}), s) for s, c in candles.items()]
    close_time = np.concatenate([p[0] for p in parts])
    symbol = np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts])
    order = np.arange(len(symbol)) if len(parts) == 1 else np.lexsort((symbol, close_time))
    bar = np.concatenate([np.arange(len(p[0])) for p in parts])
    X = parts[0][1] if len(parts) == 1 else np.concatenate([p[1] for p in parts])[order]
    return Rows(names, X, close_time[order], symbol[order], bar[order], np.concatenate([p[2] for p in parts])[order],
                np.concatenate([p[3] for p in parts])[order], tuple(candles), next(iter(intervals)), horizon, tuple(p[4] for p in parts))


def _of_symbol(candles: Candles, horizon: int, names: tuple[str, ...], added: Mapping[str, np.ndarray],
               symbol: str) -> tuple[np.ndarray, ...]:
    n = len(candles)
    table = feature_table(candles)
    X = np.full((n, len(names)), np.nan)
    for i, name in enumerate(names):
        if name in added:
            column = np.asarray(added[name], float)
            if column.shape != (n,):
                raise InputError(f"feature {name[:30]!r} of {symbol} has {len(column)} values, its candles have {n} bars; give one a bar")
            X[:, i] = np.where(np.isfinite(column), column, np.nan)
        elif name in NAMES:
            X[:, i] = table.column(name)
    past = np.full(n, np.nan)
    if horizon < n:
        together = candles.segment_start[horizon:] == candles.segment_start[:-horizon]
        past[horizon:] = np.where(together, candles.close[horizon:] / candles.close[:-horizon] - 1.0, np.nan)
    return candles.close_time, X, ewma_volatility(candles) * np.sqrt(horizon), past, candles.log_return


def newest_rows(candles: Mapping[str, Candles], horizon: int, *, features: tuple[str, ...] | None = None,
                extra: Extra | None = None) -> Rows:
    """The newest bar of every symbol: what serving asks about, from as much history as the features need."""
    tails = {s: c.tail(SERVING_BARS) for s, c in candles.items()}
    cut = {s: {n: np.asarray(v)[-len(tails[s]):] for n, v in columns.items()} for s, columns in (extra or {}).items() if s in tails}
    rows = make_rows(tails, horizon, features=features, extra=cut)
    last = [int(np.flatnonzero(rows.symbol == i)[-1]) for i in range(len(rows.symbols)) if (rows.symbol == i).any()]
    return rows.take(np.array(last, np.int64))


def label_config(label: str, *, horizon: int | None = None, cost: float = ROUND_TRIP) -> LabelConfig:
    """How a label is made for learning: a barrier trade that ran out of time within its own costs counts as flat.

    Without that a real market has no flat outcome at all, for a return is never exactly 0.
    """
    return LabelConfig(horizon=horizon, cost=cost, least_return=cost if label == "triple_barrier" else 0.0)


def make_dataset(candles: Mapping[str, Candles], label: str, config: LabelConfig | None = None, *, sampling: str = "all",
                 features: tuple[str, ...] | None = None, extra: Extra | None = None, leave_out_empty: bool = False,
                 invented: Mapping[str, np.ndarray] | None = None) -> Dataset:
    """Features joined to a label. `sampling` "events" keeps bars where the symmetric CUSUM filter fired (methods.md 5.1).

    `invented` marks bars that were filled in, by symbol: rows that are one, or whose outcome spans one, are left out.

    Raises
    ------
    InputError
        Unknown label, sampling or feature; a column without one known value (unless `leave_out_empty`); one class only.
    NoData
        Fewer than 500 rows with a known outcome.
    """
    if sampling not in SAMPLINGS:
        raise InputError(f"expected sampling {' or '.join(SAMPLINGS)}, got {sampling[:20]!r}")
    kind, config = label_kind(label), config or LabelConfig()
    horizon = config.horizon or kind.horizon
    if horizon < 1:
        raise InputError(f"expected a horizon of at least one bar, got {horizon}")
    short = min((len(c) for c in candles.values()), default=0)
    if candles and short < horizon + 2:
        raise NoData(f"expected at least {LEAST_ROWS} bars with a known outcome, got {short} bars of data; back-fill more history")
    rows = make_rows(candles, horizon, features=features, extra=extra)
    n = len(rows)
    y, ret, t1, end, kept = (np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, bool))
    for i, c in enumerate(candles.values()):
        made = make_labels(c, label, config)
        mine = np.flatnonzero(rows.symbol == i)
        bars = rows.bar[mine]
        y[mine], ret[mine], t1[mine] = made.value[bars], made.ret[bars], made.t1[bars]
        end[mine] = np.searchsorted(c.close_time, made.t1[bars])
        kept[mine] = made.known[bars] & (events(c, horizon=horizon)[bars] if sampling == "events" else True)
        made_up = (invented or {}).get(rows.symbols[i])
        if made_up is not None and made_up.any():
            before = np.concatenate(([0], np.cumsum(made_up)))
            kept[mine] &= before[np.minimum(end[mine], len(c) - 1) + 1] == before[bars]
    classes = {"binary": (0, 1), "three": (-1, 0, 1)}.get(kind.task, ())
    data = Dataset(rows, y, ret, rows.close_time, t1, end, label, kind.task, classes, config.cost).take(np.flatnonzero(kept))
    if len(data) < LEAST_ROWS:
        holes = sum(len(np.unique(c.segment_start)) - 1 for c in candles.values() if len(c))
        raise NoData(f"expected at least {LEAST_ROWS} bars with a known outcome, got {len(data)} of {n:,}; " + (
            f"{holes:,} holes cut the history, after each the volatility must warm up anew: repair them, or back-fill more" if holes
            else "back-fill more history"))
    return _checked(data, leave_out_empty)


def _checked(data: Dataset, leave_out_empty: bool) -> Dataset:
    empty = ~np.isfinite(data.rows.X).any(axis=0)
    if empty.any():
        names = [n for n, gone in zip(data.rows.names, empty, strict=True) if gone]
        if not leave_out_empty or empty.all():
            raise InputError(f"not one known value in {len(names)} of {len(empty)} features: {', '.join(names[:8])}; these candles do not "
                             "carry what they need; leave the empty ones out or import candles with volumes")
        kept = tuple(n for n in data.rows.names if n not in names)
        data = replace(data, rows=replace(data.rows, names=kept, X=data.rows.X[:, ~empty]))
    if data.classes:
        found = np.unique(data.y)
        if len(found) < len(data.classes):
            raise InputError(f"expected the outcomes {', '.join(map(str, data.classes))} of {data.label} to occur, got only "
                             f"{', '.join(f'{v:g}' for v in found)}; another horizon or label would divide this history")
    elif not np.ptp(data.y) > 0:
        raise InputError(f"every outcome of {data.label} is {data.y[0]:g}: there is nothing to learn from prices that do not move")
    return data
