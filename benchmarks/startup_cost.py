"""What the plugin adds to the start of a test run that does not use it.

    python benchmarks/startup_cost.py [--runs 20] [--json]

Runs ``pytest --collect-only`` on an empty file with the plugin and without it, in turn, with compiled modules cached as
they are for a user. On a machine that does other things at the same time, the processor time says more than the wall's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Where it is set, every start compiles every module anew, and that is all one would measure.
ENV = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
WAYS: dict[str, list[str]] = {"with": [], "without": ["-p", "no:voiceloop"]}
NO_TESTS_COLLECTED = 5


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def collect_ms(folder: Path, options: list[str]) -> tuple[float, float]:
    """Wall and processor time of one run."""
    before, processor_before = time.perf_counter(), processor_s()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
    )
    took_ms = (time.perf_counter() - before) * 1e3, (processor_s() - processor_before) * 1e3
    if done.returncode != NO_TESTS_COLLECTED:
        raise SystemExit(f"pytest failed:\n{done.stdout}{done.stderr}")
    return took_ms


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=20, help="runs each way (default 20)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    given = options.parse_args()
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_empty.py").touch()
        # So that this run's ini file is the folder's own, whatever stands above it.
        (folder / "pytest.ini").write_text("[pytest]\n")
        for more in WAYS.values():
            collect_ms(folder, more)
        for _ in range(given.runs):
            for way, more in WAYS.items():
                took[way].append(collect_ms(folder, more))
    result: dict[str, float] = {"runs": given.runs}
    for place, clock in enumerate(("wall", "processor")):
        ways = {way: [times[place] for times in took[way]] for way in WAYS}
        # The difference is that of pairs: a machine that becomes busy in between slows both of a pair.
        pairs = zip(ways["with"], ways["without"], strict=True)
        result |= {f"{way}_{clock}_ms": round(statistics.median(ways[way]), 1) for way in WAYS}
        result[f"added_{clock}_ms"] = round(statistics.median(w - wo for w, wo in pairs), 1)
    if given.json:
        print(json.dumps(result))
    else:
        for clock in ("wall", "processor"):
            print(
                f"{clock} time: without the plugin {result[f'without_{clock}_ms']:.0f} ms, "
                f"with it {result[f'with_{clock}_ms']:.0f} ms: {result[f'added_{clock}_ms']:.1f} ms added"
            )


if __name__ == "__main__":
    main()
