"""Services of one small file each, and how to wait for what they do."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pytest_voiceloop.stack.spec import Service

READY = "import json; print(json.dumps({'ready': 'fake', 'engine': 'none'}), flush=True)\n"
# Python runs a signal's handler between two instructions: one that comes just before signal.pause() would wait in it.
FOREVER = "import time\nwhile True: time.sleep(0.05)\n"
PATIENCE_S = 20.0


def script(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    return path


def fake(folder: Path, name: str, source: str, **fields: Any) -> Service:
    """A service that runs `source`; its pid stands in ``<name>.pid`` of `folder`."""
    tell = f"import os; open({str(folder / name)!r} + '.tmp', 'w').write(str(os.getpid()))\n"
    tell += f"os.rename({str(folder / name)!r} + '.tmp', {str(folder / name)!r} + '.pid')\n"
    return Service(name, ("{python}", str(script(folder, name, tell + source))), fields.pop("ports", {}), **fields)


def pid_of(folder: Path, name: str) -> int:
    path = folder / f"{name}.pid"
    until(path.exists)
    return int(path.read_text())


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
