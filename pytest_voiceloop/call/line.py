"""One call: the caller's mouth and ear on a live stack, and what a turn on it left behind."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pytest_voiceloop.call import impair, machine
from pytest_voiceloop.call.faults import TurnFaults
from pytest_voiceloop.call.judge import Judge, Judgement, open_judge, wait_for_hello
from pytest_voiceloop.call.pacing import FRAME_SAMPLES, Pacing, pacing_in_background
from pytest_voiceloop.call.phone import Phone, open_phone
from pytest_voiceloop.call.striking import Striking, striking
from pytest_voiceloop.measure.playout import Arrival, audible, playout
from pytest_voiceloop.measure.timeline import QUIET_NS, Crossing, parts
from pytest_voiceloop.stack.process import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.faults import Fault
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.replay import Script

SETTLE_NS = 2_000_000_000
"""After a sentence was cut, how long the rest of it may take to be answered before the turn is taken as over."""
TURN_TIMEOUT_S = 30.0
SILENT_S = 3.0
"""How long a caller who said nothing at all stays on the line to hear whether he is answered."""
_UNHEARD_NS = 1_000_000_000
"""Where nobody takes the caller's speech any more, how long it may take to see who died."""

HUNG_UP = "the caller hung up, on purpose"
LEFT = {"hung_up": HUNG_UP, "silent": "the caller said nothing, on purpose"}
"""Where no reply was waited for, nothing is said of the stack."""
_SILENCE = np.zeros(FRAME_SAMPLES, np.float32)
EndedBy = Literal["end", "bye", "quiescence", "timeout", "broken", "hung_up", "silent"]


@dataclass(frozen=True, slots=True)
class Capture:
    """Everything that was seen of one turn, raw.

    `clip` is what was said, whatever a fault had made of it. `arrivals` are all packets of the turn, `reply_arrivals`
    those of its last reply.
    """

    call_id: str
    clip: Clip
    pacing: Pacing
    t0_ns: int
    crossings: tuple[Crossing, ...]
    arrivals: tuple[Arrival, ...]
    reply_arrivals: tuple[Arrival, ...]
    ended_by: EndedBy
    judgement: Judgement | None
    broken: StackError | None
    """What ended the turn when a service died in it."""
    garbled: tuple[str, ...]
    """What the caller got and could not understand."""
    receive_buffer_bytes: int
    script: Script | None
    counted: Mapping[str, float]
    """What the services say they worked: ``whisper_tokens`` and the like."""
    load: machine.Load
    faults: tuple[Mapping[str, Any], ...] = ()
    """What was done on purpose, as `TurnFaults.records` has it."""


class Line:
    """An open call. It is not thread-safe: one turn at a time, as on a telephone."""

    def __init__(self, live: LiveStack, call_id: str, phone: Phone) -> None:
        self._live = live
        self.call_id = call_id
        self._phone = phone

    def turn(
        self,
        clip: Clip,
        *,
        judged: bool,
        script: Script | None = None,
        faults: Sequence[Fault] = (),
        patience_s: float = TURN_TIMEOUT_S,
    ) -> Capture:
        """Speak a clip at real-time pace, wait for the whole reply until `patience_s` after T0, and have it judged.

        With a `script` its texts are passed on between the services in place of their own. With `faults` they strike,
        and what they stopped is there again when this returns.

        A reply that does not come is no exception: `ended_by` is then "timeout", or "broken" when a service died, and
        what came is kept. Raises StackError when the judge cannot be reached beforehand.
        """
        with contextlib.ExitStack() as stack:
            judge = stack.enter_context(open_judge(self._live)) if judged else None
            self._live.scripts.pop(self.call_id, None)
            if script is not None:
                self._live.scripts[self.call_id] = script
            first_arrival, first_end = len(self._phone.arrivals), len(self._phone.ends_ns)
            first_error = len(self._phone.errors)
            clip = impair.spoken(clip, faults)
            in_force = TurnFaults((*self._live.standing, *faults), self._live.spec, self._live.spoken)
            frames, silence = self._phone.encode(clip.samples), self._phone.encode(_SILENCE)[0]
            logged = {process.log: process.log.stat().st_size for process in self._live.running.processes}
            sampled = self._sample()
            pacing = Pacing(time.monotonic_ns(), [])
            with (
                pacing_in_background(frames, silence, self._phone.send, pacing),
                striking(self._live, self.call_id, in_force, pacing, clip) as struck,
            ):
                judgement, broken = None, None
                ended_by: EndedBy = "broken"
                try:
                    ended_by = self._await_reply(clip, pacing, first_end, struck, patience_s)
                    if ended_by not in LEFT:
                        judgement = self._judge(judge, impair.received(self._phone.arrivals[first_arrival:], faults))
                except (StackError, OSError) as error:
                    broken = error if isinstance(error, StackError) else StackError(f"the line broke: {error}")
            broken = _together([*filter(None, [broken]), *struck.errors])
            load = machine.load(sampled, self._sample())
        t0_ns = pacing.sample_ns(clip.speech_end)
        arrivals = impair.received(self._phone.arrivals[first_arrival:], faults)
        earlier_ends = self._phone.ends_ns[first_end:-1]
        return Capture(
            call_id=self.call_id,
            clip=clip,
            pacing=pacing,
            t0_ns=t0_ns,
            crossings=tuple(self._live.recorder.of(self.call_id, pacing.start_ns)),
            arrivals=tuple(arrivals),
            reply_arrivals=_reply(arrivals, earlier_ends[-1] if earlier_ends else 0, ended_by),
            ended_by=ended_by,
            judgement=judgement,
            broken=broken,
            garbled=tuple(self._phone.errors[first_error:]),
            receive_buffer_bytes=self._phone.receive_buffer_bytes,
            script=script,
            counted={
                f"{process.name}_{name}": value
                for process in self._live.running.processes
                for name, value in process.counted_since(logged.get(process.log, 0), self.call_id).items()
            },
            load=load,
            faults=tuple(in_force.records(t0_ns)),
        )

    def _sample(self) -> machine.Sample | None:
        shims = {process.name: process.popen.pid for process in self._live.running.processes}
        return machine.sample(shims, self._live.root_pid)

    def _await_reply(self, clip: Clip, pacing: Pacing, first_end: int, struck: Striking, patience_s: float) -> EndedBy:
        t0_ns, start_ns = pacing.sample_ns(clip.speech_end), pacing.start_ns
        said_nothing = clip.speech_end <= clip.speech_start
        give_up_ns = t0_ns + round((SILENT_S if said_nothing else patience_s) * 1e9)
        ends_by = self._live.spec.caller.end_of_reply
        changed = self._live.recorder.changed
        with changed:
            while True:
                now_ns = time.monotonic_ns()
                if struck.hung_up:
                    return "hung_up"
                if ends_by == "end" and self._ended(now_ns, t0_ns, start_ns, first_end):
                    return "end"
                if ends_by == "bye" and self._phone.over_ns is not None:
                    return "bye"
                if ends_by == "quiescence" and self._quiet(now_ns, t0_ns):
                    return "quiescence"
                if self._phone.over_ns is not None:
                    raise StackError("the stack hung up before its reply was complete")
                if now_ns > give_up_ns:
                    return "silent" if said_nothing else "timeout"
                changed.wait(0.1)
                self._live.running.check()
                if pacing.unheard_ns is not None and now_ns > pacing.unheard_ns + _UNHEARD_NS:
                    raise StackError("nobody takes the caller's speech any more: the connection was closed")

    def _ended(self, now_ns: int, t0_ns: int, start_ns: int, first_end: int) -> bool:
        """Whether every transcript of the turn has been answered to the end, and none is to come."""
        ends_ns = self._phone.ends_ns[first_end:]
        if not ends_ns:
            return False
        if "stt_llm" not in self._live.tapped:
            return ends_ns[-1] > t0_ns
        transcripts = parts(self._live.recorder.of(self.call_id, start_ns), "stt_llm")
        if not transcripts or transcripts[-1].ended_ns is None or len(ends_ns) < len(transcripts):
            return False
        # A transcript that was final before the caller stopped speaking was cut; the rest should follow.
        return transcripts[-1].ended_ns >= t0_ns or now_ns > max(t0_ns, ends_ns[-1]) + SETTLE_NS

    def _quiet(self, now_ns: int, t0_ns: int) -> bool:
        """Whether nothing audible has come for a while. Some lines carry silence all the time."""
        for arrival in reversed(self._phone.arrivals):
            if now_ns < arrival.arrival_ns + QUIET_NS and audible(arrival):
                return False
            if now_ns >= arrival.arrival_ns + QUIET_NS:
                return any(audible(a) for a in self._phone.arrivals if t0_ns < a.arrival_ns)
        return False

    def _judge(self, judge: Judge | None, arrivals: list[Arrival]) -> Judgement | None:
        if judge is None or not arrivals:
            return None
        heard = playout(arrivals)
        # What a jittery line still holds has not been heard yet.
        time.sleep(max(0.0, (arrivals[-1].arrival_ns - time.monotonic_ns()) / 1e9))
        return judge.hear(heard.samples, heard.rate_hz)


def _reply(arrivals: list[Arrival], earlier_end_ns: int, ended_by: EndedBy) -> tuple[Arrival, ...]:
    """The packets of the last reply. Where no END is spoken, the silence around it is the line's."""
    reply = [arrival for arrival in arrivals if arrival.arrival_ns > earlier_end_ns]
    if ended_by == "quiescence":
        heard = [place for place, arrival in enumerate(reply) if audible(arrival)]
        reply = reply[heard[0] : heard[-1] + 1] if heard else []
    return tuple(reply)


def _together(errors: Sequence[StackError]) -> StackError | None:
    """One error that says what all of them say; a single one stays what it is."""
    said = list(dict.fromkeys(map(str, errors)))
    return StackError("\n".join(said)) if len(said) > 1 else next(iter(errors), None)


@contextlib.contextmanager
def open_line(live: LiveStack) -> Iterator[Line]:
    """Start a call and hang up with the context. Connections stand when it yields. Raises StackError, SpecError."""
    with live.slot() as call_id, open_phone(live, call_id) as phone:
        wait_for_hello(live, call_id, live.greeted)
        yield Line(live, call_id, phone)
