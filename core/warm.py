"""`python -m core.warm`: compiles the kernels into the folder NUMBA_CACHE_DIR names, in a process of its own.

The compiler needs memory and holds the interpreter's lock; done here, a page being drawn meanwhile feels neither. The app then
only loads what is in the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE_S = 120
_BEGUN = threading.Lock()  # taken once and kept


def compile_in_a_child() -> None:
    """Fill the kernel folder from a child process of low priority; whatever goes wrong, the plain kernels go on."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run([sys.executable, "-m", "core.warm"], cwd=root, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        why = f"the child ended with {done.returncode}" if done.returncode else ""
    if why:
        from loguru import logger

        logger.warning("kernels were not compiled ({}); the plain ones go on", why)


def load_kernels() -> None:
    """What the app's background thread does after the first paint; a second call in the same process does nothing."""
    from data.kernel import compile_all

    if not _BEGUN.acquire(blocking=False):
        return
    compile_in_a_child()
    compile_all()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)  # a page being drawn goes first
    import analysis.modules  # noqa: F401 - brings every kernel in
    import core.backtest.engine  # noqa: F401 - and the engine's
    from data.kernel import compile_all

    compile_all()
