"""The list of contents of one stored series: what each file must hash to, what is known about its holes, and what was lost.

The manifest is written twice per change: first naming the files about to be renamed (`pending`), then as the new truth. So a
file on disk is either listed, or pending, or damaged; there is no fourth case, and no file is trusted because it "looks newer".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from data.errors import DamagedState
from data.market import Interval, worst_provenance
from data.storage.parts import CONFLICTS, Part

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """What one file must be. `holes` are first and last missing open_time of each hole between its rows, flat."""

    sha256: str
    bytes: int
    rows: int
    first: int = 0
    last: int = 0
    last_close: int = 0
    provenances: tuple[str, ...] = ()
    holes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Confirmed:
    """A hole the exchange itself has: it was down. Open_times of the first and last missing bar."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True)
class Damage:
    """Something stored that can no longer be read. It stays listed until the rows are fetched again or it is acknowledged."""

    series: str
    file: str
    reason: str
    rows: int = 0
    first: int = 0
    last: int = 0
    quarantined_as: str | None = None

    def __str__(self) -> str:
        return self.words

    @property
    def words(self) -> str:
        lost = f"{self.rows} rows lost until they are fetched or imported again" if self.rows else "no row lost"
        kept = f"; the file is kept as quarantine/{self.quarantined_as}" if self.quarantined_as else ""
        return f"{self.series} {self.file}: {self.reason}; {lost}{kept}"


@dataclass(frozen=True)
class Manifest:
    series: str
    parts: dict[str, Entry] = field(default_factory=dict)
    conflicts: Entry | None = None
    confirmed: tuple[Confirmed, ...] = ()
    lost: tuple[Damage, ...] = ()
    pending: dict[str, Entry] = field(default_factory=dict)  # by month, or "conflicts"

    @property
    def months(self) -> list[str]:
        return sorted(self.parts)

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.parts.values())

    @property
    def provenance(self) -> str:
        return worst_provenance([p for entry in self.parts.values() for p in entry.provenances])

    def version(self) -> str:
        """Hash of everything that decides what a reader gets: the files' content and the confirmed gaps."""
        content = [[month, self.parts[month].sha256] for month in self.months]
        gaps = [[gap.start, gap.end] for gap in self.confirmed]
        return hashlib.sha256(json.dumps([self.series, content, gaps]).encode()).hexdigest()[:32]

    def applied(self, names: set[str]) -> Manifest:
        """The manifest after the renames named here; what else was pending never happened."""
        parts = self.parts | {m: e for m, e in self.pending.items() if m in names and m != CONFLICTS}
        conflicts = self.pending[CONFLICTS] if CONFLICTS in names else self.conflicts
        return replace(self, parts=parts, conflicts=conflicts, pending={})

    def encode(self) -> bytes:
        body = {
            "format": FORMAT, "series": self.series,
            "parts": {month: asdict(self.parts[month]) for month in self.months},
            "conflicts": asdict(self.conflicts) if self.conflicts else None,
            "confirmed": [asdict(gap) for gap in self.confirmed],
            "lost": [asdict(damage) for damage in self.lost],
            "pending": {name: asdict(entry) for name, entry in sorted(self.pending.items())},
        }
        return json.dumps({"check": _check(body), **body}, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """
        Raises
        ------
        DamagedState
            When the bytes are not exactly what was written.
        """
        try:
            body = json.loads(data)
            check = body.pop("check")
            if check != _check(body):
                raise DamagedState("its content differs from its checksum")
            if body["format"] != FORMAT:
                raise DamagedState(f"expected format {FORMAT}, got {body['format']!r}; it was written by a newer Sextant")
            return cls(
                body["series"], {month: _entry(e) for month, e in body["parts"].items()},
                _entry(body["conflicts"]) if body["conflicts"] else None,
                tuple(Confirmed(**gap) for gap in body["confirmed"]), tuple(Damage(**d) for d in body["lost"]),
                {name: _entry(e) for name, e in body["pending"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedState(f"not a readable manifest ({type(error).__name__}: {str(error)[:60]})") from None


def _entry(values: dict) -> Entry:
    return Entry(**values | {"provenances": tuple(values["provenances"]), "holes": tuple(values["holes"])})


def _check(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def entry_of(part: Part, data: bytes, interval: Interval) -> Entry:
    """The entry of a part just encoded, or just proven."""
    times = part.columns["open_time"]
    holes: tuple[int, ...] = ()
    if part.month == CONFLICTS or not len(times):
        return Entry(hashlib.sha256(data).hexdigest(), len(data), len(times), provenances=part.provenances)
    at = np.flatnonzero(np.diff(times) != interval.ms)
    if len(at):
        ends = np.column_stack((times[at] + interval.ms, times[at + 1] - interval.ms))
        holes = tuple(int(t) for t in ends.ravel())
    return Entry(hashlib.sha256(data).hexdigest(), len(data), len(times), int(times[0]), int(times[-1]),
                 int(part.columns["close_time"][-1]), part.provenances, holes)


def holes_of(manifest: Manifest, interval: Interval) -> list[tuple[int, int]]:
    """Missing stretches between the first and the last stored bar, oldest first, from the manifest alone."""
    found: list[tuple[int, int]] = []
    before: Entry | None = None
    for month in manifest.months:
        entry = manifest.parts[month]
        if before is not None and entry.first - before.last > interval.ms:
            found.append((before.last + interval.ms, entry.first - interval.ms))
        found.extend(zip(entry.holes[::2], entry.holes[1::2], strict=True))
        before = entry
    return found


def halts_of(manifest: Manifest, interval: Interval) -> list[Confirmed]:
    """The holes that are confirmed from end to end; a hole confirmed in part is still a hole."""
    if not manifest.confirmed:
        return []
    halts = []
    for start, end in holes_of(manifest, interval):
        covering = [gap for gap in manifest.confirmed if gap.start <= start and end <= gap.end]
        if covering:
            halts.append(Confirmed(start, end, covering[0].reason))
    return halts


def confirm(existing: tuple[Confirmed, ...], new: Confirmed, interval: Interval) -> tuple[Confirmed, ...]:
    """Confirmed stretches with one more; stretches that touch become one."""
    out: list[Confirmed] = []
    for gap in sorted((*existing, new), key=lambda g: (g.start, g.end)):
        if out and gap.start <= out[-1].end + interval.ms:
            known = out.pop()
            reason = known.reason if gap.reason in known.reason else f"{known.reason}; {gap.reason}"
            gap = Confirmed(known.start, max(known.end, gap.end), reason)
        out.append(gap)
    return tuple(out)
