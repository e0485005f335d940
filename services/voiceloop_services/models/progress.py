"""A progress display on standard error: one line rewritten on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Self

TERMINAL_INTERVAL_S = 0.2
LOG_INTERVAL_S = 5.0


class Progress:
    """Progress of one download of `total_bytes`. Use it as a context manager."""

    def __init__(self, label: str, total_bytes: int) -> None:
        self._label = label
        self._total_bytes = max(total_bytes, 1)
        self._terminal = sys.stderr.isatty()
        self._started_s = time.monotonic()
        self._shown_s = self._started_s if not self._terminal else 0.0

    def __enter__(self) -> Self:
        if not self._terminal:
            print(f"{self._label}: {_megabytes(self._total_bytes)} …", file=sys.stderr, flush=True)
        return self

    def update(self, done_bytes: int) -> None:
        """Show how far it is, if enough time has passed since the last display."""
        now_s = time.monotonic()
        if now_s - self._shown_s < (TERMINAL_INTERVAL_S if self._terminal else LOG_INTERVAL_S):
            return
        self._shown_s = now_s
        # What a client writes beside the archive (a cache, an unpacked copy) must not make it 130 %.
        done_bytes = min(done_bytes, self._total_bytes)
        rate = done_bytes / max(now_s - self._started_s, 1e-3)
        line = (
            f"{self._label}: {100 * done_bytes // self._total_bytes:3d} % "
            f"of {_megabytes(self._total_bytes)}, {_megabytes(int(rate))}/s"
        )
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def __exit__(self, error: object, *_: object) -> None:
        took_s = time.monotonic() - self._started_s
        line = f"{self._label}: {'failed' if error else 'done'} after {took_s:.1f} s"
        print(f"\r\x1b[K{line}" if self._terminal else line, file=sys.stderr, flush=True)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
