"""Other programs that keep the processors busy, for whoever wants to know what that does to a measurement.

They are no children of this process, so that they look as foreign as they are (see `machine`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_S = 0.01


@contextlib.contextmanager
def foreign_load(percent: float) -> Iterator[None]:
    """So much of every processor's time is asked for by others until the context ends. Not on Windows."""
    if not percent:
        yield
        return
    started = subprocess.run(
        [sys.executable, "-m", __name__, str(percent), str(os.getpid())], check=True, stdout=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        for pid in map(int, started.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _leave_behind(percent: float, on_behalf_of: int) -> None:
    """Print the pids of a worker for each processor, and end: nobody's children, they look after themselves."""
    workers = []
    for processor in _processors():
        pid = os.fork()
        if not pid:
            # Whoever reads what we print would wait for as long as a worker could print more.
            os.close(sys.stdout.fileno())
            if processor is not None:
                os.sched_setaffinity(0, {processor})
            with contextlib.suppress(ProcessLookupError):
                _work(percent, on_behalf_of)
            os._exit(0)
        workers.append(pid)
    print(*workers)


def _processors() -> list[int | None]:
    if hasattr(os, "sched_getaffinity"):
        return [*os.sched_getaffinity(0)]
    return [None] * (os.cpu_count() or 1)


def _work(percent: float, on_behalf_of: int) -> None:
    """Work for this share of each period. Raises ProcessLookupError when that process has ended."""
    while True:
        os.kill(on_behalf_of, 0)
        since_s = time.monotonic()
        while time.monotonic() - since_s < PERIOD_S * percent / 100:
            pass
        time.sleep(max(since_s + PERIOD_S - time.monotonic(), 0))


if __name__ == "__main__":
    _leave_behind(float(sys.argv[1]), int(sys.argv[2]))
