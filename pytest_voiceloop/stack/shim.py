"""Runs one service and sees to it that nothing of it outlives the run.

Started as ``python -ISs shim.py LIFELINE_FD GRACE_S SIGNAL COMMAND…`` in a session of its own. The harness holds the
other end of the lifeline pipe: when it goes, by whatever signal, the pipe closes and everything below the shim is
ended. A pidfd of the harness says the same where a forked copy of it keeps the pipe open.
SIGTERM to the shim ends it politely, by the SIGNAL that the service takes for that. Imports nothing but a little of
the standard library, since it starts once per service, and is single-threaded, without which PR_SET_PDEATHSIG would
fire when a thread ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHORT_GRACE_S = 0.3
"""What a service gets whose harness is gone, or that is filling the disk."""
LOG_CHECK_MS = 250


def _prctl(option: int, value: int) -> None:
    # Linux only; elsewhere the process group is all there is.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _descendants() -> list[int]:
    """Everything below this process: a subreaper inherits whatever its descendants leave behind."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (entry / "stat").read_text()
            parents[int(entry.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    found = [os.getpid()]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def _signal_all(number: int) -> None:
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap(pid: int) -> tuple[int | None, bool]:
    """Collect what has ended: the service's exit code if it is among it, and whether anything is left."""
    code = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code, False
        if ended == 0:
            return code, True
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)


def _end_all(pid: int, stop_signal: int, grace_s: float, harness: select.poll) -> int | None:
    code = None
    _signal_all(stop_signal)
    deadline = time.monotonic() + grace_s
    while True:
        if harness.poll(0):
            deadline = min(deadline, time.monotonic() + SHORT_GRACE_S)
        ended, left = _reap(pid)
        code = ended if ended is not None else code
        if not left:
            return code
        if time.monotonic() > deadline:
            _signal_all(signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    """Run the command and exit with its code (128 + n when signal n killed it)."""
    lifeline, grace_s, stop_signal, log_limit_bytes = int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:5])
    command = sys.argv[5:]
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Signals become readable bytes, so that one poll waits for everything.
    own_pid = os.getpid()
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    # Ctrl-C is the harness's business; it arrives here as a closed lifeline or SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the harness waits on is readable for good once it is gone. poll, since select ends at descriptor 1023.
    harness, either = select.poll(), select.poll()
    gone = [lifeline]
    with contextlib.suppress(OSError, AttributeError):
        gone.append(os.pidfd_open(os.getppid()))
    for descriptor in gone:
        harness.register(descriptor, select.POLLIN)
        either.register(descriptor, select.POLLIN)
    either.register(wake, select.POLLIN)

    # A SIGTERM between fork and exec would run our handler in the child and be lost to the service.
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != own_pid:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across exec.
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.close(lifeline)
        try:
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(127)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    code: int | None = None
    while code is None:
        told = either.poll(LOG_CHECK_MS)
        if os.fstat(1).st_size > log_limit_bytes:
            code = _end_all(pid, signal.SIGTERM, SHORT_GRACE_S, harness)
            break
        if not told:
            continue
        if harness.poll(0) or signal.SIGTERM in os.read(wake, 4096):
            code = _end_all(pid, stop_signal, grace_s, harness)
            break
        code, _ = _reap(pid)
    _end_all(pid, stop_signal, grace_s, harness)
    sys.exit(code if code is not None and code >= 0 else 128 - (code or -9))


if __name__ == "__main__":
    main()
