"""A booted stack on the line: its processes, its taps, and the call ids that are free."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_voiceloop.call.faults import TurnFaults
from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.boot import RunningStack, boot
from pytest_voiceloop.wire.protocols import LinkProtocol, protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_voiceloop.call.faults import Fault
    from pytest_voiceloop.call.replay import Script
    from pytest_voiceloop.call.tap import Relay
    from pytest_voiceloop.measure.timeline import Role
    from pytest_voiceloop.stack.spec import Link, StackSpec


@dataclass(slots=True)
class LiveStack:
    """A running stack with its taps. Calls take an id from it and give it back."""

    running: RunningStack
    recorder: Recorder = field(default_factory=Recorder)
    sinks: set[str] = field(default_factory=set)
    """Calls whose transcripts go nowhere: the judge's."""
    scripts: dict[str, Script] = field(default_factory=dict)
    """What is passed on in a call's present turn in place of its own texts."""
    root_pid: int = field(default_factory=os.getpid)
    """Whatever runs from this process down is our own load on the machine, and not foreign."""
    calls: list[str] = field(default_factory=list)
    """The calls that are open, without the judge's."""
    standing: Sequence[Fault] = ()
    """Faults that are in force all the time."""
    turn_faults: dict[str, TurnFaults] = field(default_factory=dict)
    """What is in force in a call's present turn, the standing ones included."""
    spoken: Mapping[Link, LinkProtocol] = field(default_factory=dict)
    """What each link speaks."""
    relays: Sequence[Relay] = ()
    """The connections through the taps."""
    _free: deque[int] = field(default_factory=deque)
    _between_turns: TurnFaults | None = None

    def __post_init__(self) -> None:
        self._free.extend(self.spec.slots.ids())
        if self.standing:
            self._between_turns = TurnFaults(self.standing, self.spec, self.spoken)

    def faults(self, call_id: str) -> TurnFaults | None:
        """What is done on purpose to a call just now."""
        return self.turn_faults.get(call_id, self._between_turns)

    @property
    def spec(self) -> StackSpec:
        """What was booted."""
        return self.running.spec

    @property
    def tapped(self) -> tuple[Role, ...]:
        """The roles of the links that have a tap, in the order of the stack."""
        return tuple(role for link in self.spec.links if link.tap for role in link.roles)

    @property
    def greeted(self) -> tuple[Role, ...]:
        """Those of `tapped` on whose links a call says HELLO when it begins."""
        return tuple(role for link in self.spec.links if link.tap and self.spoken[link].greets for role in link.roles)

    def whose(self) -> str:
        """The only call that is open: what passes on a link that names no call is its. Else empty, and nobody's."""
        return self.calls[0] if len(self.calls) == 1 else ""

    @property
    def open_calls(self) -> int:
        """How many call ids are taken."""
        return self.spec.slots.count - len(self._free)

    @contextlib.contextmanager
    def slot(self, *, sink: bool = False) -> Iterator[str]:
        """A call id that nobody else uses, the longest unused one first. Raises RuntimeError if none is free."""
        if not self._free:
            raise RuntimeError(
                f"all {self.spec.slots.count} call slots are in use; hang up a call, or declare more slots in the spec"
            )
        number = self._free.popleft()
        call_id = str(number)
        # What crossed late on the id's last call is not this one's.
        self.recorder.forget(call_id)
        if sink:
            self.sinks.add(call_id)
        else:
            self.calls.append(call_id)
        try:
            yield call_id
        finally:
            if sink:
                self.sinks.remove(call_id)
            else:
                self.calls.remove(call_id)
            self.scripts.pop(call_id, None)
            self.recorder.forget(call_id)
            self._free.append(number)

    def port(self, owner: str, name: str, call_id: str | None = None) -> int:
        """The port that `owner` binds; per-call ports take the call's id."""
        return self.running.addresses.bind[owner, name] + (int(call_id) if call_id else 0)

    def address(self, owner: str, name: str, call_id: str | None = None) -> tuple[str, int]:
        """Host and port at which `owner` itself listens, as `port` gives it."""
        return self.running.addresses.host(owner, name), self.port(owner, name, call_id)

    def tapped_port(self, owner: str, name: str, call_id: str | None = None) -> int:
        """The port at which `owner` is reached through its tap."""
        return self.running.addresses.reach[owner, name] + (int(call_id) if call_id else 0)


@contextlib.contextmanager
def live_stack(
    spec: StackSpec,
    logs: Path,
    *,
    fixed_ports: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    standing: Sequence[Fault] = (),
) -> Iterator[LiveStack]:
    """Boot a stack and put it on the line until the context ends, with `standing` faults in force all the time.

    Raises what `boot` raises, and ProtocolError.
    """
    spoken = {link: protocol(link.protocol) for link in spec.links}
    # A tap listens only while its target is ready: else whoever connects is refused, as without a tap.
    with boot(spec, logs, fixed_ports=fixed_ports, progress=progress) as running:
        live = LiveStack(running, standing=standing, spoken=spoken)
        points = list(_tap_points(live))
        with taps(
            points,
            live.recorder,
            live.sinks.__contains__,
            live.scripts.get,
            live.whose,
            live.faults,
            running.is_up,
        ) as live.relays:
            yield live


def _tap_points(live: LiveStack) -> Iterator[TapPoint]:
    booted = {service.name: service for service in live.spec.services}
    for link in live.spec.links:
        if not link.tap:
            continue
        key = (link.target, link.port)
        port = booted[link.target].ports[link.port] if link.target in booted else live.spec.neighbours[key]
        for call_id in map(str, live.spec.slots.ids()) if port.per_call else (None,):
            upstream = live.address(*key, call_id) if link.target in booted else None
            yield TapPoint(link, live.spoken[link], live.tapped_port(*key, call_id), upstream)
