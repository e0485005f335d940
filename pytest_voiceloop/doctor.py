"""What a run on the reference stack needs, what is missing, and one cure for each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_MEMORY_GIB = 3.0
LEAST_CORES = 2
_PACKAGES = {
    "faster-whisper": "stack",
    "llama-cpp-python": "stack",
    "onnx": "stack",
    "onnxruntime": "stack",
    "espeakng-loader": "stack",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `cure` is a command or a short sentence; empty where all is well."""

    what: str
    ok: bool
    found: str
    cure: str = ""


def run_doctor(*, as_json: bool) -> int:
    """Look at everything and print it; returns 1 if something is missing."""
    findings = list(examine())
    if as_json:
        print(json.dumps({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else "MISSING"
            print(f"{mark}  {finding.what}: {finding.found}" + (f"  →  {finding.cure}" if finding.cure else ""))
    return 0 if all(finding.ok for finding in findings) else 1


def examine() -> Iterator[Finding]:
    """Everything that the reference stack needs, in the order in which it is needed."""
    yield _python()
    yield from _packages()
    yield from _models()
    yield _ports()
    yield from _machine()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    enough = sys.version_info >= (3, 11)
    return Finding("Python", enough, found, "" if enough else "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    from importlib import metadata

    for package, extra in _PACKAGES.items():
        try:
            yield Finding(package, ok=True, found=metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, ok=False, found="not installed", cure=f"pip install 'pytest-voiceloop[{extra}]'")


def _models() -> Iterator[Finding]:
    # The services' own business, so they are asked: the harness imports none of them.
    asked = subprocess.run(
        [sys.executable, "-m", "voiceloop_services.models", "verify", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        rows = json.loads(asked.stdout)
    except ValueError:
        yield Finding(
            "models",
            ok=False,
            found=f"cannot be listed: {asked.stderr.strip()[-200:]}",
            cure="pip install --force-reinstall pytest-voiceloop",
        )
        return
    for row in rows:
        files = ", ".join(sorted(set(row["files"].values())))
        yield Finding(f"model {row['name']}", row["ok"], files, row["cure"] or "")


def _ports() -> Finding:
    from pytest_voiceloop.stack.ports import PortError, allocate
    from pytest_voiceloop.stack.reference import reference_stack

    try:
        with allocate(reference_stack()):
            return Finding("ports", ok=True, found="enough free ones")
    except (PortError, OSError) as error:
        return Finding("ports", ok=False, found=str(error), cure="stop what holds them (ss -ltnup)")


def _machine() -> Iterator[Finding]:
    import os

    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", cores >= LEAST_CORES, str(cores), "" if cores >= LEAST_CORES else "use a bigger machine")
    free_gib = psutil.virtual_memory().available / 2**30
    enough = free_gib >= LEAST_MEMORY_GIB
    yield Finding(
        "free memory",
        enough,
        f"{free_gib:.1f} GiB",
        "" if enough else f"free some: {LEAST_MEMORY_GIB:g} GiB are needed",
    )
