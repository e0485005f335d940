"""A fault, and the turns after it until a reply is heard whole again."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_voiceloop.call.assess import Occasion, measured
from pytest_voiceloop.call.faults import FaultError
from pytest_voiceloop.call.line import LEFT, open_line
from pytest_voiceloop.measure.playout import playout
from pytest_voiceloop.measure.recovery import Recovery, Sound, Spoken, counted, found
from pytest_voiceloop.measure.timeline import parts
from pytest_voiceloop.stack.process import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.faults import Fault
    from pytest_voiceloop.call.line import Capture, Line
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.turn import Turn

_PAUSE_S = 0.2
"""Between two tries at a call that a service which is still starting does not take."""


@dataclass(slots=True)
class Talk:
    """One caller who says the same until he stops, on new calls where he has to."""

    live: LiveStack
    clip: Clip
    on_turn: Callable[[Turn, Capture], Turn]
    patience_s: float
    turns: list[Turn] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    error: BaseException | None = None
    """What ended it before it was stopped; whoever waits for its thread raises it."""
    _call: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _line: Line | None = None
    _silent: int = 0

    def turn(self, faults: Sequence[Fault] = ()) -> bool:
        """Say it once; whether the reply was heard whole. Raises StackError where no call can be opened."""
        if self._line is None:
            self._line = self._call.enter_context(open_line(self.live))
        capture = self._line.turn(self.clip, judged=False, faults=faults, patience_s=self.patience_s)
        occasion = Occasion(index=len(self.turns), trial=0, warmup=True)
        self.captures.append(capture)
        self.turns.append(self.on_turn(measured(capture, self.live, occasion, judged=False), capture))
        good = self.turns[-1].status in ("ok", "void") and capture.ended_by not in LEFT
        good = good and (self.made is None or bool(found(self.spoken[-1].heard, self.made)))
        self._silent = 0 if good else self._silent + 1
        if capture.broken or capture.ended_by == "hung_up" or self._silent > 1:
            self.hang_up()
        return good

    def hang_up(self) -> None:
        """The next turn is on a new call."""
        self._line, self._silent = None, 0
        self._call.close()

    @property
    def made(self) -> list[Sound] | None:
        """Every reply that was made for this caller; None where that cannot be seen."""
        return [s for turn in self.spoken for s in turn.made] if _shows_audio(self.live) else None

    @property
    def spoken(self) -> list[Spoken]:
        """Each turn's replies, as made and as heard."""
        return [_spoken(capture) for capture in self.captures]


def recover(
    live: LiveStack,
    clip: Clip,
    faults: Sequence[Fault],
    *,
    beside: Clip | None,
    on_turn: Callable[[Turn, Capture], Turn],
    patience_s: float,
    within_s: float,
) -> Recovery:
    """As `Simulator.recover` says. Raises FaultError where no fault is in force, or none struck."""
    if not faults:
        raise FaultError('there is nothing to recover from: inject a fault first, or mark the test with fault("…")')
    mine, stop = Talk(live, clip, on_turn, patience_s), threading.Event()
    other = None if beside is None else Talk(live, beside, on_turn, patience_s)
    with contextlib.ExitStack() as stack:
        stack.callback(mine.hang_up)
        if other is not None:
            stack.callback(other.hang_up)
            # It is under way when the fault strikes.
            other.turn()
            thread = threading.Thread(target=_talk_on, args=(other, stop), name="beside", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
        good = mine.turn(faults)
        first = mine.captures[0]
        if not first.faults:
            raise FaultError(f"{', '.join(map(str, faults))} never struck: the moment did not come in the turn")
        struck_ns = first.t0_ns + round(min(record["at_ms"] for record in first.faults) * 1e6)
        give_up_ns = struck_ns + round(within_s * 1e9)
        # A reply that was whole before the fault struck has not survived it, and one that a service had finished before
        # it was ended says nothing of the one that was started in its place.
        good = good and _last_ns(mine) > struck_ns and not {"kill", "restart"} & {f["kind"] for f in first.faults}
        while not good and time.monotonic_ns() < give_up_ns:
            try:
                good = mine.turn()
            except StackError:
                # A service that is still starting takes no call.
                mine.hang_up()
                time.sleep(_PAUSE_S)
    if other is not None and other.error is not None:
        # A caller who has stopped says nothing of what becomes of a second call.
        raise other.error
    shown = _shows_audio(live)
    lost, doubled, crossed = counted(mine.spoken, other.spoken if other else ())
    return Recovery(
        turns=tuple(mine.turns),
        beside=tuple(other.turns) if other else (),
        struck_ms=round((struck_ns - first.t0_ns) / 1e6, 3),
        recovered_ms=round((_last_ns(mine) - struck_ns) / 1e6, 3) if good else None,
        lost=lost if shown else sum(turn.status not in ("ok", "void") for turn in mine.turns),
        doubled=doubled if shown else None,
        crossed=crossed if shown and other else None,
    )


def _talk_on(talk: Talk, stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            try:
                talk.turn()
            except StackError:
                talk.hang_up()
                stop.wait(_PAUSE_S)
    except BaseException as error:
        # Nobody sees it in this thread.
        talk.error = error


def _last_ns(talk: Talk) -> int:
    arrivals = talk.captures[-1].reply_arrivals
    return arrivals[-1].arrival_ns if arrivals else 0


def _shows_audio(live: LiveStack) -> bool:
    return any(link.role == "tts_out" and link.tap for link in live.spec.links)


def _spoken(capture: Capture) -> Spoken:
    made = (part.speech for part in parts(capture.crossings, "tts_out"))
    heard = playout(capture.arrivals)
    return Spoken(tuple(Sound(*one) for one in made if one), Sound(heard.samples, heard.rate_hz))
