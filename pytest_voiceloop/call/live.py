"""A booted stack on the line: its processes, its taps, and the call ids that are free."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.boot import RunningStack, boot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_voiceloop.call.replay import Script
    from pytest_voiceloop.measure.timeline import Role
    from pytest_voiceloop.stack.spec import StackSpec


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
    _free: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._free.extend(self.spec.slots.ids())

    @property
    def spec(self) -> StackSpec:
        """What was booted."""
        return self.running.spec

    @property
    def tapped(self) -> tuple[Role, ...]:
        """The roles of the links that have a tap, in the order of the stack."""
        return tuple(link.role for link in self.spec.links if link.tap)

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
        try:
            yield call_id
        finally:
            self.sinks.discard(call_id)
            self.scripts.pop(call_id, None)
            self.recorder.forget(call_id)
            self._free.append(number)

    def port(self, owner: str, name: str, call_id: str | None = None) -> int:
        """The port that `owner` binds; per-call ports take the call's id."""
        return self.running.addresses.bind[owner, name] + (int(call_id) if call_id else 0)

    def tapped_port(self, owner: str, name: str, call_id: str | None = None) -> int:
        """The port at which `owner` is reached through its tap."""
        return self.running.addresses.reach[owner, name] + (int(call_id) if call_id else 0)


@contextlib.contextmanager
def live_stack(
    spec: StackSpec, logs: Path, *, fixed_ports: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Iterator[LiveStack]:
    """Boot a stack and put it on the line until the context ends. Raises what `boot` raises."""
    # A tap begins to listen when its target is ready: until then whoever connects is refused, as without a tap.
    with boot(spec, logs, fixed_ports=fixed_ports, progress=progress) as running:
        live = LiveStack(running)
        with taps(list(_tap_points(live)), live.recorder, live.sinks.__contains__, live.scripts.get):
            yield live


def _tap_points(live: LiveStack) -> Iterator[TapPoint]:
    booted = {service.name: service for service in live.spec.services}
    for link in live.spec.links:
        if not link.tap:
            continue
        key = (link.target, link.port)
        port = booted[link.target].ports[link.port] if link.target in booted else live.spec.neighbours[key]
        for call_id in map(str, live.spec.slots.ids()) if port.per_call else (None,):
            upstream = live.port(*key, call_id) if link.target in booted else None
            yield TapPoint(link, live.tapped_port(*key, call_id), upstream)
