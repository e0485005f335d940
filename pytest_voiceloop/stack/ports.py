"""Numbers for every port of a stack, chosen before the first process starts.

Ports come from pages of 64 consecutive numbers below the kernel's ephemeral range, where no outgoing connection can
take one. A page is held for as long as the run lives by binding its guard, a port of its own on which nobody ever
listens. Two runs on one machine therefore never meet, whatever their users or folders for temporary files, and the
kernel frees the page however the run ends. Every number is bound once, exclusively, before it is handed out.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_voiceloop.stack.spec import CALLER, HOST, Addresses, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_voiceloop.stack.spec import Port, StackSpec

PAGE = 64
_LOWEST = 20_000
_HIGHEST = 32_768
_GUARDS = 19_500
"""The guard of the first page; that of the next is one higher."""
_FEWEST_PAGES = 32


class PortError(RuntimeError):
    """No port is left, or one of the fixed plan is taken."""


@contextlib.contextmanager
def allocate(spec: StackSpec, *, fixed: bool = False) -> Iterator[Addresses]:
    """Addresses for `spec`, held until the context ends.

    With `fixed` the services bind the seed's numbers, and only taps are allocated. Raises PortError.
    """
    declared = {(s.name, name): port for s in spec.services for name, port in s.ports.items()} | dict(spec.neighbours)
    there = {key: port for key, port in declared.items() if port.host is not None}
    bound = {key: port for key, port in declared.items() if key not in there}
    taps = {(link.target, link.port): link.tap for link in spec.links if link.tap}
    wanted = ([] if fixed else [("bind", key, port) for key, port in bound.items()]) + [
        ("tap", key, declared[key]) for key, tap in taps.items() if tap is True
    ]
    width = {True: spec.slots.width, False: 1}
    need = sum(width[port.per_call] for _, _, port in wanted)
    with _page(need) as page:
        numbers: dict[tuple[str, tuple[str, str]], int] = {}
        at = page
        for use, key, port in wanted:
            numbers[use, key] = at - (spec.slots.first if port.per_call else 0)
            at += width[port.per_call]
        bind = {
            key: _seed(key, port) if fixed or key in there else numbers["bind", key] for key, port in declared.items()
        }
        if fixed:
            _check_fixed(spec, bound)
        asked = {key: tap for key, tap in taps.items() if tap is not True}
        reach = {key: asked.get(key, numbers.get(("tap", key), number)) for key, number in bind.items()}
        yield Addresses(bind, reach, {key: str(port.host) for key, port in there.items()})


def _seed(key: tuple[str, str], port: Port) -> int:
    if port.seed is None:
        raise SpecError(
            f"port {key[1]!r} of {key[0]} has no number in the fixed plan; give it one, or run with "
            "--voiceloop-ports=auto"
        )
    return port.seed


def _check_fixed(spec: StackSpec, bound: Mapping[tuple[str, str], Port]) -> None:
    ids = spec.slots.ids()
    taken: dict[tuple[str, int], str] = {}
    for (owner, name), port in bound.items():
        whose = f"{'the caller' if owner == CALLER else owner}, {name}"
        seed = _seed((owner, name), port)
        for number in [seed + call_id for call_id in ids] if port.per_call else [seed]:
            other = taken.setdefault((port.protocol, number), whose)
            if other != whose:
                raise SpecError(
                    f"the fixed plan gives {port.protocol} port {number} to ({other}) and to ({whose}); "
                    f"choose other call slots than {spec.slots}, such as every second one, Slots(step=2), "
                    f"or run with --voiceloop-ports=auto"
                )
            if not _is_free(number, port.protocol):
                raise PortError(
                    f"{port.protocol} port {number} ({whose}) of the fixed plan is in use; "
                    f"stop what holds it (ss -lp 'sport = {number}') or run with --voiceloop-ports=auto"
                )


@contextlib.contextmanager
def _page(need: int) -> Iterator[int]:
    pages = max(1, -(-need // PAGE))
    if pages > 4:
        raise SpecError(f"the stack needs {need} ports; {4 * PAGE} is the most: declare fewer call slots")
    size = pages * PAGE
    highest = min(_HIGHEST, _ephemeral_low())
    if highest < _LOWEST + _FEWEST_PAGES * PAGE:
        # This machine's ephemeral range begins low. An outgoing connection may then take a number, which is why a
        # boot is tried twice.
        highest = _HIGHEST
    firsts = list(range(_LOWEST, highest - size + 1, size))
    random.shuffle(firsts)
    for first in firsts:
        with contextlib.ExitStack() as held:
            if all(held.enter_context(_held(first + i * PAGE)) for i in range(pages)) and all(
                _is_free(port, protocol) for port in range(first, first + need) for protocol in ("tcp", "udp")
            ):
                yield first
                return
    raise PortError(f"no {need} free consecutive ports between {_LOWEST} and {highest}; what holds them all?")


@contextlib.contextmanager
def _held(page: int) -> Iterator[bool]:
    """Hold a page if no other run does."""
    with socket.socket() as guard:
        try:
            # Without SO_REUSEADDR: nothing else can bind it then, and no connection of it can linger.
            guard.bind((HOST, _GUARDS + (page - _LOWEST) // PAGE))
        except OSError:
            yield False
            return
        yield True


def _is_free(port: int, protocol: str) -> bool:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol == "tcp":
            # As the services do: a connection of an earlier run in TIME_WAIT is no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _ephemeral_low() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return _HIGHEST
