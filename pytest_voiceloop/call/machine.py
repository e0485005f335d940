"""The machine around a turn: who used its processors, whether that disturbed the turn, and how fast it is at all."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEAL_LIMIT_PERCENT = 2.0
"""A turn during which the hypervisor took more of the processors' time than this is void."""
FOREIGN_LIMIT_PERCENT = 10.0
"""A turn during which other programs took more of the processors' time than this is void, if the services waited."""
WAITED_LIMIT_MS = 20.0
"""So long the threads of all services together may have waited for a processor, whatever else runs."""
CALIBRATION_ROUNDS = 5

_TICKS_HZ = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_LARGEST_READ = 1 << 18


@dataclass(frozen=True, slots=True)
class Used:
    """What the processes of a service used: of processors, of waiting for one, and of memory."""

    cpu_s: float
    waited_s: float | None
    """Summed over its threads; None where the kernel does not say."""
    rss_mib: float
    """Resident memory summed over its processes; what they share counts for each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine's counters at a moment, of the processors that we may run on. They only grow."""

    at_ns: int
    cpus: int
    counted_s: float
    """All that the kernel accounted for, idle or not: nothing, in a sandbox that fakes the counters."""
    idle_s: float
    steal_s: float
    own_s: float
    """What our own processes used of processors: the harness, the services, and what they waited for."""
    services: Mapping[str, Used]


@dataclass(frozen=True, slots=True)
class Load:
    """What was used between two samples; percentages are of all processors' time. None where it cannot be known."""

    steal_percent: float | None
    foreign_cpu_percent: float | None
    services: Mapping[str, Used]


def sample(services: Mapping[str, int], root_pid: int) -> Sample | None:
    """The counters of this moment, or None where there is no Linux ``/proc`` that tells them. Takes about 1 ms.

    `services` are the pids of their shims by name; every process from `root_pid` down is our own.
    """
    try:
        processors = _processors(os.sched_getaffinity(0))
        # Without it our own processes cannot be found, and would all be foreign.
        _read(f"/proc/self/task/{os.getpid()}/children")
    except (OSError, AttributeError):
        return None
    at_ns = time.monotonic_ns()
    own_s, used = 0.0, {name: Used(0.0, None, 0.0) for name in services}
    for pid, name in _below(root_pid, services):
        try:
            cpu_s, rss_mib = _process(pid)
        except (OSError, ValueError):
            # It has ended since: its parent has its time.
            continue
        own_s += cpu_s
        if name:
            before, waited_s = used[name], _waited_s(pid)
            if waited_s is not None:
                waited_s += before.waited_s or 0.0
            used[name] = Used(before.cpu_s + cpu_s, waited_s, before.rss_mib + rss_mib)
    counted_s, idle_s, steal_s = (sum(column) for column in zip(*processors, strict=True))
    return Sample(at_ns, len(processors), counted_s, idle_s, steal_s, own_s, used)


def load(before: Sample | None, after: Sample | None) -> Load:
    """What was used between two samples."""
    if before is None or after is None:
        return Load(None, None, {})
    services = {name: _used(before.services.get(name), now) for name, now in after.services.items()}
    capacity_s = (after.at_ns - before.at_ns) / 1e9 * after.cpus
    if after.cpus != before.cpus or after.counted_s - before.counted_s < capacity_s / 2:
        return Load(None, None, services)
    steal_s = after.steal_s - before.steal_s
    # Idle time is exact, busy time is a sample of clock ticks, by which short work is missed or counted double.
    busy_s = capacity_s - (after.idle_s - before.idle_s) - steal_s
    foreign_s = max(busy_s - (after.own_s - before.own_s), 0.0)
    return Load(round(100 * steal_s / capacity_s, 2), round(100 * foreign_s / capacity_s, 2), services)


def disturbances(found: Load) -> list[str]:
    """Why a turn under that load says nothing about the stack: a sentence for each reason, none if it may count."""
    reasons = []
    steal, foreign = found.steal_percent, found.foreign_cpu_percent
    if steal is not None and steal > STEAL_LIMIT_PERCENT:
        reasons.append(f"the hypervisor took {steal:.1f} % of the processors' time (limit {STEAL_LIMIT_PERCENT:g} %)")
    waits = [used.waited_s for used in found.services.values() if used.waited_s is not None]
    # Where nobody waited, other programs ran on processors that nobody needed. What a service has started elsewhere,
    # such as in a container, is foreign too, and not in its own way.
    harmless = bool(waits) and sum(waits) * 1000 <= WAITED_LIMIT_MS
    if foreign is not None and foreign > FOREIGN_LIMIT_PERCENT and not harmless:
        waited = f", and the services waited {sum(waits) * 1000:.0f} ms for a processor" if waits else ""
        reasons.append(
            f"other programs took {foreign:.0f} % of the processors' time (limit {FOREIGN_LIMIT_PERCENT:g} %){waited}"
        )
    return reasons


def calibrate() -> float:
    """How many ms a fixed piece of work takes on one thread now: the median of CALIBRATION_ROUNDS, about 0.2 s in all.

    It is a third each of products of small matrices, a loop of Python, and walks through memory, so that a slower
    clock, a shared core and a busy memory bus all show.
    """
    import numpy as np

    # So small that no BLAS shares them out among threads.
    square = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    product = np.empty_like(square)
    # More than most caches hold.
    large = np.zeros(4_000_000, np.float32)
    rounds_ms = []
    # The first one pays for what is done once, and does not count.
    for _ in range(1 + CALIBRATION_ROUNDS):
        start_ns = time.monotonic_ns()
        for _ in range(1200):
            np.matmul(square, square, out=product)
        total = 0
        for number in range(400_000):
            total += number & 7
        for _ in range(8):
            np.add(large, 1, out=large)
        rounds_ms.append((time.monotonic_ns() - start_ns) / 1e6)
    return round(sorted(rounds_ms[1:])[CALIBRATION_ROUNDS // 2], 3)


def _used(before: Used | None, after: Used) -> Used:
    """What was used since `before`. A service that was started anew begins with nothing."""
    if before is None or after.cpu_s < before.cpu_s:
        return after
    waited_s = after.waited_s
    if waited_s is not None:
        # A thread that has ended has taken its waiting with it.
        waited_s = max(waited_s - (before.waited_s or 0.0), 0.0)
    return Used(after.cpu_s - before.cpu_s, waited_s, after.rss_mib)


def _processors(ours: set[int]) -> list[tuple[float, float, float]]:
    """(all that was counted, idle, stolen) in s for each of our processors; see proc_stat(5)."""
    found = []
    for line in _read("/proc/stat").splitlines():
        name, *ticks = line.split()
        if name[:3] == b"cpu" and name[3:].isdigit() and int(name[3:]) in ours:
            # user nice system idle iowait irq softirq steal; guests are in user already.
            seconds = [int(tick) / _TICKS_HZ for tick in ticks[:8]]
            found.append((sum(seconds), seconds[3] + seconds[4], seconds[7]))
    if not found:
        raise FileNotFoundError("/proc/stat names none of our processors")
    return found


def _below(root_pid: int, services: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Every process from the root down, each with the service that it belongs to (empty for none)."""
    names = {pid: name for name, pid in services.items()}
    found = [(root_pid, "")]
    for pid, name in found:
        yield pid, name
        for tid in _threads(pid):
            try:
                children = _read(f"/proc/{pid}/task/{tid}/children").split()
            except OSError:
                continue
            found += [(int(child), names.get(int(child), name)) for child in children]


def _process(pid: int) -> tuple[float, float]:
    """CPU time in s of a process and of the children it waited for, and its resident memory in MiB."""
    # The second field is a name in brackets, in which anything may stand.
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 22:
        raise ValueError(f"/proc/{pid}/stat is shorter than it should be")
    return sum(map(int, fields[11:15])) / _TICKS_HZ, int(fields[21]) * _PAGE_MIB


def _waited_s(pid: int) -> float | None:
    """How long a process' threads stood ready and had no processor, in s; see sched-stats in the kernel's docs."""
    waits_ns = []
    for tid in _threads(pid):
        try:
            waits_ns.append(int(_read(f"/proc/{pid}/task/{tid}/schedstat").split()[1]))
        except (OSError, IndexError):
            # The thread has ended, or the kernel was built without.
            continue
    return sum(waits_ns) / 1e9 if waits_ns else None


def _threads(pid: int) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _read(path: str) -> bytes:
    """A file of ``/proc`` in one read, so that its lines are of one moment."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LARGEST_READ)
    finally:
        os.close(descriptor)
