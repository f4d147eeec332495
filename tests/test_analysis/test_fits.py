"""Fits are kept by content, survive the process, and a damaged file is fitted again."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import fits as fits_file
from analysis.fits import FitCache


class Counted:
    """A fit that counts how often it ran."""

    def __init__(self):
        self.runs = 0

    def __call__(self, x):
        self.runs += 1
        return {"mean": float(x.mean()), "sizes": [1, 2.5, None]}


def test_the_same_numbers_are_fitted_once(tmp_path):
    cache, fit, x = FitCache(tmp_path), Counted(), np.arange(5.0)
    first = cache.get("m/1", x, fit, order=2)
    assert cache.get("m/1", x.copy(), fit, order=2) == first == {"mean": 2.0, "sizes": [1, 2.5, None]} and fit.runs == 1
    cache.get("m/1", x, fit, order=3)
    cache.get("m/2", x, fit, order=2)
    cache.get("m/1", x + 1, fit, order=2)
    assert fit.runs == 4


def test_another_process_reads_it_back(tmp_path):
    x, fit = np.arange(5.0), Counted()
    FitCache(tmp_path).get("m/1", x, Counted())
    assert FitCache(tmp_path).get("m/1", x, fit)["mean"] == 2.0 and fit.runs == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete", "swap"])
def test_a_damaged_file_is_never_believed(tmp_path, damage):
    x = np.arange(5.0)
    FitCache(tmp_path).get("m/1", x, Counted())
    FitCache(tmp_path).get("m/1", x + 7, Counted())
    file, other = sorted(tmp_path.glob("*.json"))
    text = file.read_bytes()
    changed = {"flip": text.replace(b"2.0", b"3.0").replace(b"9.0", b"8.0"), "cut": text[:-5], "empty": b"", "delete": None,
               "swap": other.read_bytes()}[damage]
    file.unlink() if changed is None else file.write_bytes(changed)
    cache, fit = FitCache(tmp_path), Counted()
    assert cache.get("m/1", x, fit)["mean"] == 2.0 and cache.get("m/1", x + 7, fit)["mean"] == 9.0
    assert fit.runs == 1


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert FitCache(blocked).get("m/1", np.arange(5.0), Counted())["mean"] == 2.0


def test_memory_and_folder_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(fits_file, "MEMORY_BYTES", 2_000)
    monkeypatch.setattr(fits_file, "FOLDER_BYTES", 3_000)
    monkeypatch.setattr(fits_file, "SAVES_PER_TIDYING", 2)
    cache = FitCache(tmp_path)
    for i in range(60):
        cache.get("m/1", np.array([float(i)]), lambda x: [float(x[0])] * 40)
    assert cache._bytes <= 2_000 and sum(f.stat().st_size for f in tmp_path.glob("*.json")) <= 3_600


def test_what_is_read_from_a_fit_is_read_once(tmp_path):
    read = []

    def table(value):
        read.append(value)
        return np.array(value)

    x = np.arange(3.0)
    fits = FitCache(tmp_path)
    found = [fits.get("m/1", x, lambda data: data.tolist(), read=table) for _ in range(3)]
    assert read == [[0.0, 1.0, 2.0]] and found[0] is found[2]
    assert np.array_equal(FitCache(tmp_path).get("m/1", x, pytest.fail, read=table), x), "from the folder"
