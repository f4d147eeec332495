"""Versions, promotion, and damage: nothing unproven is ever parsed."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from data.clock import FixedClock
from data.errors import DamagedState, InputError
from models.shelf import DamagedModel, ForeignModel, Shelf, UnknownModel, parse_id
from tests.model_worlds import trained

SLOT = "spot-MUSDT-1h-dir3_dyn"


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "models", FixedClock(1_700_000_000_000))


@pytest.fixture
def kept(shelf):
    """Two versions, the first one promoted, the second serving."""
    for _ in range(2):
        name = shelf.add(SLOT, trained().model, data_version="d1", code_version="c1")
        shelf.promote(name, by="owner")
    return shelf


def test_what_is_shelved_is_what_was_trained(kept):
    model, rows = trained().model, trained().out_of_fold.data.rows.take(slice(0, 50))
    again = kept.load(f"{SLOT}/v2")
    assert np.array_equal(again.forecast(rows).probability, model.forecast(rows).probability)
    assert [p.document() for p in again.predict(rows)] == [p.document() for p in model.predict(rows)]
    assert np.array_equal(again.explain(rows).values, model.explain(rows).values)
    files = {p.name for p in (kept._root / SLOT / "v2").iterdir()}
    assert {"forecaster.model.txt", "calibrator.json", "config.json", "metrics.json", "manifest.json"} <= files
    assert all(f.endswith((".json", ".txt", ".npy")) for f in files)
    manifest = json.loads((kept._root / SLOT / "v2" / "manifest.json").read_text())
    assert manifest["libraries"]["lightgbm"] and manifest["data_version"] == "d1" and len(manifest["files"]) == len(files) - 1


def test_promotion_is_an_act_and_can_be_taken_back(shelf):
    first = shelf.add(SLOT, trained().model, data_version="d1")
    assert shelf.champion(SLOT) is None and shelf.in_use(SLOT).model is None
    shelf.promote(first, by="owner")
    second = shelf.add(SLOT, trained().model, data_version="d2")
    assert shelf.champion(SLOT) == first and [e.id for e in shelf.entries()] == [second, first]
    shelf.promote(second, by="owner")
    assert shelf.in_use(SLOT).id == second and shelf.roll_back(SLOT, by="owner") == first and shelf.champion(SLOT) == first
    assert shelf.roll_back(SLOT, by="owner") == second  # back and forth between the last two
    found = shelf.compare(first, second)
    assert found["differences"] == {} and len(found["metrics"]) == 2 and shelf.slots() == (SLOT,)
    assert [e.champion for e in shelf.entries(SLOT)] == [True, False] and json.dumps([e.document() for e in shelf.entries()])


def test_unknown_names_are_refused(kept):
    for act in (lambda: kept.load(f"{SLOT}/v9"), lambda: kept.promote(f"{SLOT}/v9", by="x")):
        with pytest.raises(UnknownModel, match="there is no model"):
            act()
    for bad in ("x", f"{SLOT}/v0", f"{SLOT}/../v1", "../../etc/v1", f"{SLOT}/v1/../../x"):
        with pytest.raises(InputError):
            parse_id(bad)
    with pytest.raises(InputError, match="no earlier champion"):
        kept.roll_back("spot-XUSDT-1h-dir3_dyn", by="x")


def test_a_damaged_champion_gives_way_with_words(kept):
    path = kept._root / SLOT / "v2" / "forecaster.model.txt"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedModel, match=r"forecaster.model.txt of model .*/v2 is not what was written"):
        kept.load(f"{SLOT}/v2")
    found = kept.in_use(SLOT)
    assert found.id == f"{SLOT}/v1" and found.model is not None
    assert "v2 failed its check" in found.words[0] and found.words[-1] == "v1 in use"
    assert kept.entries(SLOT)[0].fault and not kept.entries(SLOT)[1].fault
    with pytest.raises(DamagedModel):
        kept.promote(f"{SLOT}/v2", by="owner")
    assert kept.quarantine(f"{SLOT}/v2").is_dir() and [e.version for e in kept.entries(SLOT)] == [1]


def test_a_number_is_given_once(kept):
    """A version put aside left its number to the next one, which then served by a promotion it never had."""
    kept.quarantine(f"{SLOT}/v2")
    assert kept.in_use(SLOT).id == f"{SLOT}/v1"
    assert kept.add(SLOT, trained().model, data_version="d3") == f"{SLOT}/v3" and kept.in_use(SLOT).id == f"{SLOT}/v1"
    shutil.rmtree(kept._root / SLOT / "v3")
    kept.quarantine(kept.add(SLOT, trained().model, data_version="d4"))  # never promoted: only what was put aside remembers it
    (kept._root / SLOT / "champion.json").unlink()
    assert kept.add(SLOT, trained().model, data_version="d5") == f"{SLOT}/v4"


def test_a_key_that_is_not_whole_seals_nothing(kept):
    path = kept._root / "key"
    for damaged in (b"", path.read_bytes()[:7]):
        path.write_bytes(damaged)
        with pytest.raises(DamagedModel, match=f"the key of the model shelf has {len(damaged)} bytes, 32 expected"):
            kept.add(SLOT, trained().model, data_version="d3")
        assert all(e.fault for e in kept.entries(SLOT)) and [e.version for e in kept.entries(SLOT)] == [2, 1]


def test_the_state_of_the_shelf_changes_with_whatever_is_listed(kept):
    seen = [kept.state()]
    assert kept.state() == seen[0]

    def changed():
        seen.append(kept.state())
        return len(set(seen)) == len(seen)

    kept.add(SLOT, trained().model, data_version="d3")
    assert changed()
    kept.promote(f"{SLOT}/v3", by="x")
    assert changed()
    path = kept._root / SLOT / "v1" / "metrics.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert changed()
    kept.quarantine(f"{SLOT}/v1")
    assert changed()
    (kept._root / "key").unlink()
    assert changed()


def test_what_was_copied_from_elsewhere_is_foreign(kept, tmp_path):
    other = Shelf(tmp_path / "other", FixedClock(1))
    other.add(SLOT, trained().model, data_version="d1")
    shutil.copytree(tmp_path / "other" / SLOT / "v1", kept._root / SLOT / "v7")
    with pytest.raises(ForeignModel, match="not written by this installation"):
        kept.load(f"{SLOT}/v7")
    shutil.copytree(kept._root / SLOT / "v1", kept._root / SLOT / "v8")
    with pytest.raises(ForeignModel, match="it was copied here"):
        kept.load(f"{SLOT}/v8")
    (kept._root / "key").unlink()
    with pytest.raises(ForeignModel):
        kept.load(f"{SLOT}/v1")


def test_a_link_or_a_name_outside_the_folder_is_not_followed(kept, tmp_path):
    path = kept._root / SLOT / "v1" / "config.json"
    (tmp_path / "config.json").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "config.json")
    with pytest.raises(DamagedModel, match="cannot be read"):
        kept.load(f"{SLOT}/v1")


def damage(shelf, count, seed):
    """Flip, cut, fill, swap or remove; every damaged version must be refused by name, and this process lives to say so."""
    rng = np.random.default_rng(seed)
    folder = shelf._root / SLOT / "v2"
    names = sorted(p.name for p in folder.iterdir())
    whole = {n: (folder / n).read_bytes() for n in names}
    for i in range(count):
        name = names[int(rng.integers(len(names)))] if i % 2 else "forecaster.model.txt"
        data = bytearray(whole[name])
        kind = int(rng.integers(6))
        if kind == 0:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data = data[: int(rng.integers(len(data)))]
        elif kind == 2:
            data += rng.bytes(20)
        elif kind == 3:
            at = int(rng.integers(len(data)))
            data[at : at + 200] = rng.bytes(200)
        elif kind == 4:
            data = bytearray(whole[names[(names.index(name) + 1) % len(names)]])
        path = folder / name
        if kind == 5:
            path.unlink()
        else:
            path.write_bytes(bytes(data))
        with pytest.raises(DamagedState) as caught:
            shelf.load(f"{SLOT}/v2")
        assert isinstance(caught.value, DamagedModel | ForeignModel) and "\n" not in str(caught.value)
        path.write_bytes(whole[name])
    shelf.load(f"{SLOT}/v2")


def test_fifteen_damages_are_named_and_nothing_dies(kept):
    damage(kept, 15, 1)


@pytest.mark.long
def test_three_hundred_damages_are_named_and_nothing_dies(kept):
    damage(kept, 300, 2)


def test_a_damaged_champion_file_is_named(kept):
    path = kept._root / SLOT / "champion.json"
    text = path.read_text()
    for bad in ("", "[]", "{", text.replace('"version": 2', '"version": 1'), json.dumps({"history": [{}], "hmac": ""})):
        path.write_text(bad)
        with pytest.raises(DamagedModel, match=r"champion.json of spot-MUSDT-1h-dir3_dyn"):
            kept.champion(SLOT)
        assert kept.in_use(SLOT).model is None
        assert len(kept.entries(SLOT)) == 2  # still listed


def test_a_half_written_version_is_not_there(kept):
    beside = kept._root / SLOT / ".tmp-1-v3"
    beside.mkdir()
    (beside / "manifest.json").write_text("{")
    assert [e.version for e in kept.entries(SLOT)] == [2, 1] and kept.add(SLOT, trained().model, data_version="d3") == f"{SLOT}/v3"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are not POSIX there")
def test_the_key_is_for_its_owner_alone(kept):
    assert (kept._root / "key").stat().st_mode & 0o077 == 0
