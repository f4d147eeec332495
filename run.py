"""Set Sextant up and start it. Needs nothing but Python: the same two commands on Linux, macOS and Windows.

    python run.py                    set up on the first run, then start the app (further arguments go to `streamlit run`)
    python run.py test               set up with the test tools, then run the whole suite (further arguments go to pytest)
    python run.py long               the long checks: 20-seed means, full-size damage and look-ahead runs
    python run.py bench              all benchmarks with their peers, as a table

The active virtual environment is used if there is one, else .venv beside this file. What is installed is remembered by a hash
of the requirement files, so a second start needs no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 11), (3, 13)
FILES = {
    "base": ("requirements.txt", "constraints.txt"),
    "dev": ("requirements.txt", "requirements-dev.txt", "constraints.txt"),
}


PARALLEL = ("-n", "2", "--dist", "loadfile")  # two processes, a file in one of them: half the time on two cores


def main(arguments: list[str]) -> int:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        have = ".".join(map(str, sys.version_info[:3]))
        return fail(f"Sextant needs Python 3.11, 3.12 or 3.13, this is {have}; start it with e.g. python3.12 run.py")
    word = arguments[0] if arguments else ""
    os.chdir(ROOT)
    if word in ("test", "long", "bench"):
        python = prepared("dev")
        command = {
            "test": ["-m", "pytest", *PARALLEL],
            "long": ["-m", "pytest", "--long", "-s"],
            "bench": ["-m", "benchmarks"],
        }[word]
        return 1 if python is None else run([str(python), *command, *arguments[1:]])
    if word in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    python = prepared("base")
    if python is None:
        return 1
    given = " ".join(arguments)
    local = [] if "--server.address" in given else ["--server.address", "127.0.0.1"]
    return run([str(python), "-m", "streamlit", "run", "app.py", *local, *arguments])


def prepared(kind: str) -> Path | None:
    """The interpreter of an environment that holds the requirements; None (after a message) when that failed."""
    in_environment = sys.prefix != sys.base_prefix
    folder = Path(sys.prefix) if in_environment else ROOT / ".venv"
    python = Path(sys.executable) if in_environment else folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Setting up {folder.name}: an environment of its own, nothing else on this computer is touched.", flush=True)
        if run([sys.executable, "-m", "venv", str(folder)]):
            fail(f"could not create {folder}; on Debian and Ubuntu: apt install python3-venv")
            return None
    if any(current(folder, each) for each in ("dev", kind)):  # the test tools stand on everything the app needs
        return python
    print("Installing the requirements (about 1.5 GB on disk, a few minutes; only once) ...", flush=True)
    wanted = "requirements-dev.txt" if kind == "dev" else "requirements.txt"
    uv = shutil.which("uv")
    installer = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install", "-q",
                                                                           "--disable-pip-version-check"]
    if run([*installer, "-r", wanted]):
        fail("the requirements could not be installed; the lines above say why. The first start needs the package index, later ones do not")
        return None
    (folder / f".sextant-{kind}").write_text(fingerprint(kind))
    return python


def current(folder: Path, kind: str) -> bool:
    """Whether an environment holds the requirements as they are now."""
    stamp = folder / f".sextant-{kind}"
    return stamp.exists() and stamp.read_text() == fingerprint(kind)


def fingerprint(kind: str) -> str:
    """A hash of the requirement files and the Python version."""
    digest = hashlib.sha256()
    for name in FILES[kind]:
        digest.update((ROOT / name).read_bytes())
    digest.update(repr(sys.version_info[:2]).encode())
    return digest.hexdigest()


def run(command: list[str]) -> int:
    """Run to the end and pass its exit code on; Ctrl-C reaches the child, which then ends by itself."""
    child = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def fail(words: str) -> int:
    print(f"error: {words}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
