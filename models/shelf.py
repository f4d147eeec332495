"""The shelf of trained models: a folder a slot, a folder a version, proven before anything reads it.

    ROOT/key                        this installation's secret, 32 bytes
    ROOT/SLOT/v3/                   LightGBM text, JSON documents, manifest.json
    ROOT/SLOT/champion.json         which version serves, and every change of it

LightGBM's parser kills or hangs the process on damaged text, so a file is parsed only after its SHA-256 is the one in the manifest and
the manifest carries this installation's HMAC. What was copied from elsewhere fails that and is refused by name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data.clock import Clock
from data.errors import DamagedState, InputError, LockHeld
from data.storage.durable import TEMPORARY, make_folder, no_fault, replace_file, sync_folder
from models.forecaster import checked_slot
from models.proof import file_state, read_file, seal_of
from models.trained import TrainedModel, plain

LIBRARIES = ("lightgbm", "numpy", "pandas", "scikit-learn", "ta-lib")
LOCK_WAIT_S = 10.0
KEY_BYTES = 32
_VERSION = re.compile(r"^v([1-9][0-9]{0,5})$")
_ASIDE = re.compile(r"^-v([1-9][0-9]{0,5})-[0-9]+$")
_FILE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.]{0,80}$")


class DamagedModel(DamagedState):
    """A file of a model is missing, changed, or cannot be read."""


class ForeignModel(DamagedState):
    """A model this installation did not write."""


class UnknownModel(InputError):
    """There is no such version."""


@dataclass(frozen=True)
class Entry:
    """One version. `fault` is empty or says why it cannot be used."""

    slot: str
    version: int
    created_ms: int
    kind: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    libraries: Mapping[str, str]
    data_version: str
    code_version: str
    champion: bool
    fault: str = ""

    @property
    def id(self) -> str:
        return f"{self.slot}/v{self.version}"

    def document(self) -> dict[str, Any]:
        values = {n: getattr(self, n) for n in self.__dataclass_fields__}
        return dict(plain({"id": self.id} | values))


@dataclass(frozen=True)
class Promotion:
    """One change of what serves a slot: which version, when (UTC milliseconds), by whose act."""

    id: str
    at_ms: int
    by: str
    rolled_back: bool = False


@dataclass(frozen=True)
class InUse:
    """What serves a slot. `model` None: nothing usable; `words` says what was passed over and why."""

    id: str
    model: TrainedModel | None
    words: tuple[str, ...]


class Shelf:
    """All models of one home. Reading never changes anything; writers take turns by a lock file."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root, self._clock = root, clock

    # -- writing ------------------------------------------------------------------------------------------------

    def add(self, slot: str, model: TrainedModel, *, data_version: str, code_version: str = "") -> str:
        """Store a challenger; returns its id. It serves only after `promote`."""
        folder = self._slot(slot)
        with self._lock():
            key = self._key(create=True)
            number = self._next(slot)
            make_folder(folder)
            beside = folder / f"{TEMPORARY}{os.getpid()}-v{number}"
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            files = model.files()
            for name, data in files.items():
                replace_file(beside / name, data, no_fault, name)
            manifest = {"slot": slot, "version": number, "created_ms": self._clock.now_ms(), "kind": model.kind,
                        "libraries": libraries(), "data_version": data_version, "code_version": code_version,
                        "files": {n: {"sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for n, d in sorted(files.items())}}
            sealed = manifest | {"hmac": seal_of(key, manifest)}
            replace_file(beside / "manifest.json", json.dumps(sealed, indent=1).encode(), no_fault, "manifest")
            beside.rename(folder / f"v{number}")
            sync_folder(folder)
        return f"{slot}/v{number}"

    def promote(self, model_id: str, *, by: str) -> None:
        """Let a version serve: a person's act, recorded with who did it. The version is proven first."""
        slot, number = parse_id(model_id)
        self._proven(slot, number)
        with self._lock():
            history = self._history(slot)
            history.append({"version": number, "at_ms": self._clock.now_ms(), "by": by[:80]})
            self._write_history(slot, history)

    def roll_back(self, slot: str, *, by: str) -> str:
        """Let the champion before the present one serve again; returns its id."""
        with self._lock():
            history = self._history(slot)
            before = [h["version"] for h in history if h["version"] != history[-1]["version"]] if history else []
            if not before:
                raise InputError(f"{slot} has no earlier champion to roll back to; promote another version instead")
            self._proven(slot, before[-1])
            history.append({"version": before[-1], "at_ms": self._clock.now_ms(), "by": by[:80], "rolled_back": True})
            self._write_history(slot, history)
        return f"{slot}/v{before[-1]}"

    def quarantine(self, model_id: str) -> Path:
        """Move a damaged or foreign version aside; nothing is deleted."""
        slot, number = parse_id(model_id)
        with self._lock():
            source = self._slot(slot) / f"v{number}"
            if not source.is_dir():
                raise UnknownModel(f"there is no model {model_id}")
            target = self._root / "quarantine" / f"{slot}-v{number}-{self._clock.now_ms()}"
            make_folder(target.parent)
            source.rename(target)
        return target

    # -- reading ------------------------------------------------------------------------------------------------

    def load(self, model_id: str) -> TrainedModel:
        """
        Raises
        ------
        UnknownModel, DamagedModel, ForeignModel
            Before any file was parsed.
        """
        slot, number = parse_id(model_id)
        files = self._proven(slot, number)[1]
        try:
            return TrainedModel.load(files)
        except (KeyError, ValueError, TypeError) as error:  # our own bytes, written by another version of this program
            raise DamagedModel(f"model {model_id} was written by another version of this program ({error!r}); train it again") from error

    def verify(self, model_id: str) -> None:
        """Prove every byte without loading anything; raises as `load` does."""
        self._proven(*parse_id(model_id))

    def champion(self, slot: str) -> str | None:
        """Id of the version that serves, or None."""
        history = self._history(slot)
        return f"{slot}/v{history[-1]['version']}" if history else None

    def in_use(self, slot: str) -> InUse:
        """The champion, or where it fails its check the newest earlier champion that passes, with words for the banner."""
        words: list[str] = []
        try:
            history = self._history(slot)
        except DamagedModel as error:
            return InUse("", None, (str(error),))
        for number in dict.fromkeys(h["version"] for h in reversed(history)):
            try:
                found = self.load(f"{slot}/v{number}")
            except (DamagedState, UnknownModel) as error:
                words.append(f"model v{number} failed its check ({error})")
                continue
            if words:
                words.append(f"v{number} in use")
            return InUse(f"{slot}/v{number}", found, tuple(words))
        return InUse("", None, tuple(words) or (f"no model of {slot} was promoted",))

    def history(self, slot: str) -> tuple[Promotion, ...]:
        """Every promotion and roll-back of a slot, oldest first.

        Raises
        ------
        DamagedModel
            When the record was changed from outside.
        """
        return tuple(Promotion(f"{slot}/v{h['version']}", int(h.get("at_ms", 0)), str(h.get("by", "")), bool(h.get("rolled_back")))
                     for h in self._history(slot))

    def slots(self) -> tuple[str, ...]:
        if not self._root.is_dir():
            return ()
        return tuple(sorted(p.name for p in self._root.iterdir() if p.is_dir() and p.name != "quarantine" and self._versions(p.name)))

    def entries(self, slot: str | None = None) -> tuple[Entry, ...]:
        """Every version, newest first in each slot; damaged ones with their fault."""
        out = []
        for name in [slot] if slot else self.slots():
            try:
                champion = self.champion(name)
            except DamagedModel:
                champion = None
            for number in sorted(self._versions(name), reverse=True):
                out.append(self._entry(name, number, champion))
        return tuple(out)

    def state(self, slot: str | None = None) -> str:
        """Another value once the answer of `entries` may be another. Only the files' times and sizes are looked at; a model that is used is
        proven whatever they say."""
        seen = [file_state(self._root / "key")]
        for name in [slot] if slot else self.slots():
            folder = self._slot(name)
            seen += [name, file_state(folder / "champion.json")]
            for number in sorted(self._versions(name)):
                with suppress(OSError), os.scandir(folder / f"v{number}") as files:  # put aside meanwhile
                    seen += [f"v{number}", *sorted(f"{f.name} {f.stat().st_mtime_ns} {f.stat().st_size} {f.is_symlink()}" for f in files)]
        return hashlib.blake2b("\n".join(seen).encode(), digest_size=16).hexdigest()

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Configuration that differs, and both metrics, of two versions."""
        a, b = (self._entry(*parse_id(i), None) for i in (first, second))
        for e in (a, b):
            if e.fault:
                raise DamagedModel(e.fault)
        keys = sorted(set(a.config) | set(b.config))
        return {"first": first, "second": second, "metrics": [a.metrics, b.metrics],
                "differences": {k: [a.config.get(k), b.config.get(k)] for k in keys if a.config.get(k) != b.config.get(k)}}

    # -- underneath ---------------------------------------------------------------------------------------------

    def _entry(self, slot: str, number: int, champion: str | None) -> Entry:
        mine = champion == f"{slot}/v{number}"
        try:
            manifest, files = self._proven(slot, number)
        except (DamagedState, UnknownModel) as error:
            return Entry(slot, number, 0, "", {}, {}, {}, "", "", mine, str(error))
        return Entry(slot, number, manifest["created_ms"], manifest["kind"], json.loads(files["config.json"]),
                     json.loads(files["metrics.json"]), manifest["libraries"], manifest["data_version"], manifest["code_version"], mine)

    def _proven(self, slot: str, number: int) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Manifest and the bytes of every file, read once: what was hashed is what will be parsed."""
        name, folder = f"{slot}/v{number}", self._slot(slot) / f"v{number}"
        if not folder.is_dir():
            raise UnknownModel(f"there is no model {name}; python -m core models lists them")
        try:
            manifest = json.loads(read_file(folder / "manifest.json"))
            files, seal = manifest["files"], manifest.pop("hmac")
            wanted = {str(n): (str(f["sha256"]), int(f["bytes"])) for n, f in files.items()}
            owner = (str(manifest["slot"]), int(manifest["version"]))
            for part in ("created_ms", "kind", "libraries", "data_version", "code_version"):
                manifest[part]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedModel(f"the manifest of model {name} cannot be read ({type(error).__name__}); quarantine it and train "
                               "again") from error
        key = self._key(create=False)
        if not key or not hmac.compare_digest(seal_of(key, manifest), str(seal)):
            raise ForeignModel(f"model {name} was not written by this installation, or its manifest was changed; train it here")
        if owner != (slot, number):
            raise ForeignModel(f"model {name} says it is {owner[0]}/v{owner[1]}: it was copied here; train it in this slot")
        return manifest, {n: self._file(folder, n, *w, name) for n, w in wanted.items()}

    @staticmethod
    def _file(folder: Path, file: str, digest: str, size: int, name: str) -> bytes:
        if not _FILE.match(file):
            raise DamagedModel(f"model {name} lists a file {file[:40]!r} outside its folder; quarantine it")
        try:
            data = read_file(folder / file)
        except OSError as error:
            raise DamagedModel(f"{file} of model {name} cannot be read ({error.strerror or error}); quarantine it and train "
                               "again") from error
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise DamagedModel(f"{file} of model {name} is not what was written ({len(data)} bytes, {size} expected); quarantine it and "
                               "train again")
        return data

    def _slot(self, slot: str) -> Path:
        return self._root / checked_slot(slot)

    def _versions(self, slot: str) -> list[int]:
        try:
            folder = self._slot(slot)
        except InputError:
            return []
        if not folder.is_dir():
            return []
        return [int(m.group(1)) for p in folder.iterdir() if (m := _VERSION.match(p.name)) and p.is_dir()]

    def _next(self, slot: str) -> int:
        """A number no version ever had: a promotion, a prediction and what was put aside go on naming the one they meant."""
        try:
            promoted = [int(h["version"]) for h in self._history(slot)]
        except DamagedModel:
            promoted = []  # then nothing serves, and nothing new can by a number
        aside = [int(m.group(1)) for p in (self._root / "quarantine").glob(f"{slot}-v*") if (m := _ASIDE.match(p.name[len(slot):]))]
        return max((*self._versions(slot), *promoted, *aside), default=0) + 1

    def _history(self, slot: str) -> list[dict[str, Any]]:
        path = self._slot(slot) / "champion.json"
        if not path.is_file():
            return []
        try:
            document = json.loads(read_file(path))
            history, seal = list(document["history"]), str(document["hmac"])
            [int(h["version"]) for h in history]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedModel(f"champion.json of {slot} cannot be read ({type(error).__name__}); promote a version again") from error
        key = self._key(create=False)
        if not key or not hmac.compare_digest(seal_of(key, history), seal):
            raise DamagedModel(f"champion.json of {slot} was not written by this installation; move it aside and promote a version again")
        return history

    def _write_history(self, slot: str, history: list[dict[str, Any]]) -> None:
        key = self._key(create=True)
        text = json.dumps({"history": history, "hmac": seal_of(key, history)}, indent=1)
        replace_file(self._slot(slot) / "champion.json", text.encode(), no_fault, "champion")

    def _key(self, *, create: bool) -> bytes:
        path = self._root / "key"
        if path.is_file():
            found = path.read_bytes()
            if len(found) != KEY_BYTES and create:
                raise DamagedModel(f"the key of the model shelf has {len(found)} bytes, {KEY_BYTES} expected: nothing it seals could be "
                                   "told from a forgery; put the key back from a backup, or move the whole shelf aside and train again")
            return found if len(found) == KEY_BYTES else b""
        if not create:
            return b""
        make_folder(self._root)
        replace_file(path, secrets.token_bytes(KEY_BYTES), no_fault, "key")
        path.chmod(0o600)
        return path.read_bytes()

    def _lock(self) -> Any:
        make_folder(self._root)
        return _Held(self._root / "lock")


class _Held:
    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout:
            raise LockHeld("another process is writing to the model shelf; try again when it is done") from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def parse_id(text: str) -> tuple[str, int]:
    """
    >>> parse_id("spot-BTCUSDT-1h-dir3_dyn/v3")
    ('spot-BTCUSDT-1h-dir3_dyn', 3)
    """
    slot, _, tail = text.partition("/")
    found = _VERSION.match(tail)
    if not found:
        raise InputError(f"expected a model such as spot-BTCUSDT-1h-dir3_dyn/v1, got {text[:80]!r}")
    return checked_slot(slot), int(found.group(1))


def libraries() -> dict[str, str]:
    """Versions of what a model depends on."""
    out = {}
    for name in LIBRARIES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "absent"
    return out
