"""Faults that come at their own time in a turn, rather than with what passes: each waits in a thread for its moment."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from pytest_voiceloop.call.corpus import RATE_HZ
from pytest_voiceloop.call.faults import KINDS, ROLES, SPOKEN_MOMENTS, sample_of
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.wire.protocols import ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.faults import Strike, TurnFaults
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.pacing import Pacing

_LOOK_S = 0.1


class Striking:
    """The faults of a turn that is under way."""

    def __init__(self) -> None:
        self.hung_up = False
        """Whether the caller is to hang up."""
        self.over = threading.Event()
        self.abandoned = threading.Event()
        """The turn ended by an exception: what lasts is cut short."""
        self.errors: list[StackError] = []
        """Why a service did not come back, or a fault could not strike."""
        self._running: list[threading.Event] = []

    def start(self, wait: Callable[[], None], name: str) -> None:
        """Have a fault wait for its moment in a thread. What goes wrong is the turn's, whatever it is."""
        ended = threading.Event()

        def run() -> None:
            try:
                wait()
            except StackError as error:
                self.errors.append(error)
            except Exception as error:
                wrong = StackError(f"{name} could not be carried out: {type(error).__name__}: {error}")
                wrong.__cause__ = error
                self.errors.append(wrong)
            finally:
                ended.set()

        threading.Thread(target=run, name=name, daemon=True).start()
        self._running.append(ended)

    def end(self) -> None:
        """The turn is over: wait until all faults are. It may be interrupted and called again.

        Not by joining: Python 3.11 takes a thread for ended once a join of it was interrupted.
        """
        self.over.set()
        for ended in self._running:
            ended.wait()


@contextlib.contextmanager
def striking(live: LiveStack, call_id: str, faults: TurnFaults, pacing: Pacing, clip: Clip) -> Iterator[Striking]:
    """Have the faults strike until the context ends, which waits until what they stopped is there again."""
    turn = Striking()
    waiting: list[Strike] = []
    for strike in faults.strikes:
        one = strike.fault
        if one.moment in SPOKEN_MOMENTS:
            strike.moment_ns = pacing.sample_ns(sample_of(one, clip, RATE_HZ))
        if KINDS[one.kind].place == "caller" and one.kind != "hang_up":
            strike.now(pacing.start_ns if strike.moment_ns is None else strike.moment_ns)
        elif one.moment != "turn" and (one.moment != "items" or one.after_ms):
            waiting.append(strike)
    live.turn_faults[call_id] = faults
    try:
        for strike in waiting:
            turn.start(partial(_wait, live, call_id, faults, strike, pacing.start_ns, turn), str(strike.fault))
        yield turn
        # Interrupted while it waits for a service to come back, the turn is abandoned too.
        turn.end()
    except BaseException:
        turn.abandoned.set()
        raise
    finally:
        turn.end()
        live.turn_faults.pop(call_id, None)


def _wait(live: LiveStack, call_id: str, faults: TurnFaults, strike: Strike, since_ns: int, turn: Striking) -> None:
    if _comes(live, call_id, strike, since_ns, turn.over):
        _strike(live, call_id, faults, strike, turn)


def _strike(live: LiveStack, call_id: str, faults: TurnFaults, strike: Strike, turn: Striking) -> None:
    one, running = strike.fault, live.running
    match one.kind:
        case "kill" | "restart":
            strike.now(time.monotonic_ns())
            number = signal.SIGKILL if one.kind == "kill" else signal.SIGTERM
            running.restart(one.where, number, (one.duration_ms or 0) / 1000, turn.abandoned)
        case "pause":
            strike.now(time.monotonic_ns())
            process = running.process(one.where)
            process.send_signal(signal.SIGSTOP)
            try:
                turn.abandoned.wait((one.duration_ms or 0) / 1000)
            finally:
                process.send_signal(signal.SIGCONT)
        case "reset" | "half_close":
            link, direction = faults.way(one)
            for relay in list(live.relays):
                if relay.point.link == link and relay.of_call == call_id and relay.thread.is_alive():
                    strike.now(time.monotonic_ns())
                    relay.break_off(one.kind, direction)
        case "hang_up":
            with live.recorder.changed:
                strike.now(time.monotonic_ns())
                turn.hung_up = True
                live.recorder.changed.notify_all()
        case "stall":
            strike.now(time.monotonic_ns())


def _comes(live: LiveStack, call_id: str, strike: Strike, since_ns: int, over: threading.Event) -> bool:
    """Wait for the moment; whether it came before the turn was over."""
    changed = live.recorder.changed
    while not over.is_set():
        if strike.moment_ns is None and strike.fault.moment in ROLES:
            strike.moment_ns = _crossing_ns(live, call_id, strike, since_ns)
        if strike.moment_ns is not None:
            return not over.wait(max(0.0, (strike.moment_ns - time.monotonic_ns()) / 1e9))
        with changed:
            changed.wait(_LOOK_S)
    return False


def _crossing_ns(live: LiveStack, call_id: str, strike: Strike, since_ns: int) -> int | None:
    one = strike.fault
    items = [
        crossing.at_ns
        for crossing in live.recorder.of(call_id, since_ns)
        if crossing.role == one.moment and crossing.kind in ITEMS
    ]
    return items[one.item - 1] + round(one.after_ms * 1e6) if len(items) >= one.item else None
