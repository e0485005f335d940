"""What a run on a stack needs, what is missing, and one cure for each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_voiceloop.stack.spec import Addresses, Service, StackSpec

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


def run_doctor(path: Path | None, *, as_json: bool) -> int:
    """Look at everything that a configuration needs and print it; returns 1 if something is missing.

    Without a path that of the working directory is meant, and where there is none the reference stack.
    """
    findings = list(examine(path))
    if as_json:
        print(json.dumps({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else "MISSING"
            print(f"{mark}  {finding.what}: {finding.found}" + (f"  →  {finding.cure}" if finding.cure else ""))
    return 0 if all(finding.ok for finding in findings) else 1


def examine(path: Path | None = None) -> Iterator[Finding]:
    """Everything that a stack needs, in the order in which it is needed."""
    from pathlib import Path

    from pytest_voiceloop.config import ConfigError, find, load

    yield _python()
    spec = None
    try:
        path = path or find([Path.cwd()])
        if path is not None:
            found = load(path)
            spec = found.stack()
            for name in found.profiles:
                found.profile(name)
            profiles = f"profiles {', '.join(found.profiles)}" if found.profiles else "no profile"
            yield Finding(str(path), ok=True, found=f"{_described(spec)}; {profiles}")
    except ConfigError as error:
        wrong, _, cure = str(error).partition("; ")
        yield Finding("configuration", ok=False, found=wrong, cure=cure)
        return
    if spec is None or any(not service.source for service in spec.services):
        yield from _packages()
        yield from _models()
        yield from _machine()
    yield from _stack(spec)


def _described(spec: StackSpec | None) -> str:
    if spec is None:
        return "no stack of its own, so the reference stack"
    links = [f"{link.source} → {link.target}.{link.port} ({link.protocol})" for link in spec.links]
    return (
        f"services {', '.join(service.name for service in spec.services)}; links {', '.join(links) or 'none'}; "
        f"caller {spec.caller.protocol}; judge {spec.judge.protocol}"
    )


def _stack(spec: StackSpec | None) -> Iterator[Finding]:
    from pytest_voiceloop.stack.ports import PortError, allocate
    from pytest_voiceloop.stack.reference import reference_stack
    from pytest_voiceloop.stack.spec import SpecError

    spec = spec or reference_stack()
    try:
        with allocate(spec) as addresses:
            yield Finding("ports", ok=True, found="enough free ones")
            for service in spec.services:
                # The reference stack's own are looked at above: each is this very Python.
                if service.source:
                    yield _service(service, addresses, spec)
    except (PortError, SpecError, OSError) as error:
        yield Finding("ports", ok=False, found=str(error), cure="stop what holds them (ss -ltnup)")


def _service(service: Service, addresses: Addresses, spec: StackSpec) -> Finding:
    from pytest_voiceloop.stack.process import StackError, check_start
    from pytest_voiceloop.stack.readiness import reach

    try:
        if not service.command:
            reach(service)
            found = f"runs already, at {', '.join(f'{port.host}:{port.seed}' for port in service.ports.values())}"
        else:
            command = [addresses.fill(service.name, word, spec.slots) for word in service.command]
            check_start(service, command)
            found = command[0]
    except StackError as error:
        wrong, _, cure = str(error).partition("; ")
        return Finding(f"service {service.name}", ok=False, found=wrong, cure=cure)
    return Finding(f"service {service.name}", ok=True, found=found)


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
