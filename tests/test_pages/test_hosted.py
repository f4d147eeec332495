"""The app inside the memory that a small public host guarantees: every page, one training, the exchange's API blocked."""

from __future__ import annotations

import pytest

from benchmarks.bench_hosted import GUARANTEED_MIB, Limit, run
from tests.serving import chromium_path


@pytest.mark.long
@pytest.mark.skipif(chromium_path() is None, reason="no Chromium on this computer (Debian: apt install chromium)")
def test_every_page_and_a_training_fit_into_the_guarantee():
    limit = Limit(GUARANTEED_MIB)
    if limit.folder is None:
        pytest.skip("this computer does not let us set a limit of memory (Linux, root, the memory controller)")
    limit.end()
    figures = {row["name"]: row["ours_ms"] for row in run()}
    print(figures)
    assert figures["hosted: processes ended by the limit"] == 0
    assert max(value for name, value in figures.items() if ": the most" in name) < GUARANTEED_MIB
