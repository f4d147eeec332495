"""Speed and memory, each figure beside a peer measured in the same run. Nothing here is a test and nothing asserts a time."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # as the app does, for us and for the peers
    os.environ.setdefault(_name, "1")
