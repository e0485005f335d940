"""One service as a process: spawned under the shim, its log in a file."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_voiceloop.stack.spec import Service

EXIT_MISSING = 69
"""A service that lacks something exits with this code after one JSON line, ``{"missing": …, "cure": …}``."""
LOG_TAIL_LINES = 40
_LOG_TAIL_BYTES = 65_536
LOG_LIMIT_BYTES = 256 * 1024 * 1024
"""Whose log grows beyond this is ended: a service that cannot stop talking would fill the disk."""
_SHIM_GRACE_S = 3.0
"""How long a shim may take beyond its service's grace."""
_SHIM = Path(__file__).with_name("shim.py")


class StackError(RuntimeError):
    """A stack that cannot be booted, or broke. The message carries what to look at."""

    def __init__(self, message: str) -> None:
        # It may quote what a service or a server has sent, and goes to a terminal.
        super().__init__("\n".join(map(visible, message.split("\n"))))


class MissingPrerequisiteError(StackError):
    """A service said that a model, library or device is not there."""

    def __init__(self, service: str, missing: str, cure: str) -> None:
        super().__init__(f"{service} needs {visible(missing)}. Cure: {visible(cure)}")
        self.service = service
        self.missing = missing
        self.cure = cure


@dataclass(slots=True)
class Process:
    """A running service. `facts` is its ready line, where it says one; `cold_start_ms` is 0 until it is ready."""

    name: str
    command: Sequence[str]
    log: Path
    popen: subprocess.Popen[bytes]
    lifeline: int
    grace_s: float
    started_ns: int
    facts: dict[str, Any] = field(default_factory=dict)
    cold_start_ms: float = 0.0

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of its log, with controls written out: whoever shows them need not think of it."""
        with self.log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            last = stream.read().decode(errors="replace").splitlines()[-lines:]
        return "\n".join(map(visible, last)).rstrip()

    def counted_since(self, offset: int, call_id: str) -> dict[str, float]:
        """What the service says it worked for a call, added up from its log after `offset` bytes.

        It says so in lines ``{"call": "151", "counted": {"tokens": 12}}``. None need come.
        """
        total: dict[str, float] = {}
        for call, counted in self._said_since(offset, "counted"):
            if call == call_id:
                for name, value in counted.items():
                    if isinstance(value, int | float):
                        total[name] = round(total.get(name, 0) + value, 3)
        return total

    def stamped_since(self, offset: int) -> dict[tuple[str, str], list[int]]:
        """When the service received and sent its frames, by (call id, "received" or "sent"), in order, in ns.

        Read from its log after `offset` bytes. The reference stack says so with ``--stamps``, in lines
        ``{"call": "151", "stamped": {"sent": 123456789}}``.
        """
        stamps: dict[tuple[str, str], list[int]] = {}
        for call, stamped in self._said_since(offset, "stamped"):
            for what, at_ns in stamped.items():
                stamps.setdefault((call, what), []).append(at_ns)
        return stamps

    def _said_since(self, offset: int, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The call id and the object under `key` of every line of JSON that has both."""
        with self.log.open("rb") as stream:
            stream.seek(offset)
            # Line by line, however much there is.
            telling = (line for line in stream if f'"{key}"'.encode() in line)
            for said in json_objects(part for line in telling for part in line.decode(errors="replace").splitlines()):
                if isinstance(said.get("call"), str) and isinstance(said.get(key), dict):
                    yield said["call"], said[key]

    def check(self) -> None:
        """Raise if the service has ended: MissingPrerequisiteError when it says what it lacks, else StackError."""
        code = self.popen.poll()
        if code is None:
            return
        if code == EXIT_MISSING:
            for said in json_objects(self.log_tail().splitlines()):
                if "missing" in said:
                    raise MissingPrerequisiteError(
                        self.name, str(said["missing"]), str(said.get("cure") or f"none is given; see {self.log}")
                    )
        what = "died" if self.cold_start_ms else "ended before it was ready"
        why = describe_exit(code)
        if self.log.stat().st_size > LOG_LIMIT_BYTES:
            why += (
                f"; its log had grown beyond {LOG_LIMIT_BYTES / 2**20:g} MiB, beyond which a service is ended. "
                "Make it say less"
            )
        raise StackError(f"{self.name} {what}: {why}.\n{self.account()}")

    def account(self) -> str:
        """What a person needs to look into it: command and log tail."""
        tail = self.log_tail()
        full = "" if shutil.disk_usage(self.log.parent).free else "the disk that holds the log is full\n"
        return f"command: {visible(shlex.join(self.command))}\nlog: {self.log}\n{full}" + (
            f"--- last lines of {self.name} ---\n{tail}" if tail else "(the log is empty)"
        )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the service and all that it started, past its shim. What has ended takes none."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.popen.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def stop(self) -> None:
        """End the service and all it started. Returns when nothing of it is left. A second call does nothing."""
        if self.lifeline < 0:
            return
        try:
            self.popen.terminate()
            self.popen.wait(self.grace_s + _SHIM_GRACE_S)
        except subprocess.TimeoutExpired:
            # The shim itself does not answer. Its death takes the service along (PR_SET_PDEATHSIG), and the group
            # is what the service started without a session of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Close the lifeline: whatever is left of the service is killed in a moment, without its grace."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def wait_gone(self) -> None:
        """Wait a little for a service that was let go."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(_SHIM_GRACE_S)


def check_start(service: Service, command: Sequence[str]) -> None:
    """Raise StackError where a service cannot be started: no such folder, no such command. `command` is filled."""
    folder, program = service.cwd or Path(), command[0]
    if not folder.is_dir():
        raise StackError(f"{service.at('cwd')}: {folder} is no folder; correct it, or make the folder")
    if os.sep not in program:
        if shutil.which(program, path=service.env.get("PATH")) is None:
            raise StackError(
                f"{service.at('command')}: {program!r} is not on PATH; install it, or give its path (./{program} is "
                f"looked for in {folder.absolute()})"
            )
    elif not (folder / program).is_file():
        raise StackError(
            f"{service.at('command')}: {(folder / program).absolute()} does not exist; build it, or correct the command"
        )
    elif not os.access(folder / program, os.X_OK):
        raise StackError(
            f"{service.at('command')}: {(folder / program).absolute()} is not executable; chmod +x it, or begin the "
            "command with its interpreter"
        )


def spawn(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str],
    cwd: Path | None,
    grace_s: float,
    stop_signal: str = "SIGTERM",
) -> Process:
    """Start a service. Raises OSError where its working directory does not exist."""
    log.parent.mkdir(parents=True, exist_ok=True)
    theirs, ours = os.pipe()
    try:
        log.write_bytes(b"")
        # Appending, so that a service which opens /dev/stdout anew does not write over what it said before.
        with log.open("ab") as stream:
            popen = subprocess.Popen(
                [
                    *(sys.executable, "-ISs", str(_SHIM)),
                    *(str(theirs), str(grace_s), str(int(signal.Signals[stop_signal])), str(LOG_LIMIT_BYTES)),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs],
                env={**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Process(name, command, log, popen, ours, grace_s, time.monotonic_ns())


def json_objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects with which a line ends; other programs' output may stand before them."""
    for line in lines:
        _, brace, rest = line.partition("{")
        if brace:
            # A thousand brackets are a line of somebody's log, and too deep for the parser.
            with contextlib.suppress(ValueError, RecursionError):
                loaded = json.loads(brace + rest)
                if isinstance(loaded, dict):
                    yield loaded


def describe_exit(code: int) -> str:
    """An exit code in words. The shim passes a signal on as 128 + its number."""
    if code == 127:
        return "exit code 127 (the command was not found or could not be started)"
    if code > 128:
        return f"killed by signal {code - 128}"
    return f"exit code {code}" if code >= 0 else f"its shim was killed by signal {-code}"
