"""How far the harness itself is off: its stamps against those of services that know when they sent what.

The scripted stack is booted with programmed delays and ``--stamps``: every service prints when it received and when it
is about to send each frame, on the harness's own clock. The same turn is then put together twice, from what the harness
saw and from what the services say, and compared event by event and stage by stage.

What is true: T0, when whisper had the caller's last voiced sample (it comes in a frame of 20 ms: the frame's arrival,
less what follows the sample in it). T1, T2, T3 and T5, when the sending service was about to send the frame, so that
sending and reading it count as error. T4, when outbound sent the packets, played out as the harness plays them. Where
in the audio a sound begins is another question, see `onset_trial`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import textwrap
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_voiceloop.call.assess import Occasion, measured
from pytest_voiceloop.call.corpus import RATE_HZ, Clip, Utterance
from pytest_voiceloop.call.foreign_load import foreign_load
from pytest_voiceloop.call.line import Capture, open_line
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.onset_trial import onset_errors_ms
from pytest_voiceloop.call.pacing import FRAME_NS, FRAME_SAMPLES
from pytest_voiceloop.call.tap_cost import FRAMES, tap_cost
from pytest_voiceloop.measure.statistics import percentile
from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.measure.turn import LATENCY_METRICS, latency_ms
from pytest_voiceloop.stack.ports import PortError
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.timeline import Role
    from pytest_voiceloop.measure.turn import Turn
    from pytest_voiceloop.stack.spec import StackSpec

Stamps = dict[tuple[str, str], list[int]]
"""One service's, in ns, by (call id, "received" or "sent")."""

WANTED_MS = 2.0
"""The 99th percentile of every error has to be below this."""
TURNS = 110
LEAST_TURNS = 100
"""So many have to be left when void ones are taken out: of fewer, the 99th percentile is nearly the worst turn, and one
hiccup of the machine would decide."""
WARMUP_TURNS = 2
TAP_FRAMES = 200
SENDERS: Mapping[Role, str] = {"stt_llm": "whisper", "llm_tts": "llama", "tts_out": "kokoro"}
RECEIVERS: Mapping[Role, str] = {"stt_llm": "llama", "llm_tts": "kokoro", "tts_out": "outbound"}
REPLY = "Let me look that up for you. It is a quarter past seven."
"""Two clauses, so that first and last differ."""
REPLY_LEAD_MS = 150
REPLY_RATE_HZ = 24_000
# Every stage takes some time of its own, and none is worked ahead. All are short: the turns are many.
WORD_MS = 130
DELAYS = {
    "whisper": ("--early-silence-ms", "0", "--endpoint-silence-ms", "64", "--script-delay-ms", "10"),
    "llama": ("--script-reply", REPLY, "--script-delay-ms", "15"),
    "kokoro": ("--script-delay-ms", "20"),
    "outbound": (),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of `n` values, in their unit."""

    p50: float
    p99: float
    max: float
    n: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the harness can be trusted with on this machine. Errors are |harness - truth|.

    `error_ms` is by event (``t0`` to ``t5``) and by stage and total, named as in the markers. `tap_cost_ms` is what a
    tap adds to a frame, by kind. `passed_on_ms` is how much later than the harness's stamp the next service had read
    the frame, by link. `onset_error_ms` is by condition, see `onset_trial`, and does not depend on the machine.
    """

    error_ms: Mapping[str, Spread]
    pacer_lateness_ms: Spread
    tap_cost_ms: Mapping[str, Spread]
    cannot: tuple[str, ...]
    """Sentences that say what this machine cannot measure."""
    turns: int
    """Those that were compared."""
    void: int
    """Those that any run would leave out, since the machine disturbed them. They are left out here unless `busy`."""
    cpu_busy_percent: float
    busy: bool
    """Whether every core was kept busy on purpose."""
    passed_on_ms: Mapping[str, Spread]
    onset_error_ms: Mapping[str, Mapping[str, float]]
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether this machine can measure what it is asked to."""
        return not self.cannot

    def as_json(self) -> dict[str, Any]:
        """As `voiceloop selftest --json` prints it."""
        return {"ok": self.ok, **asdict(self), "cannot": list(self.cannot)}


def run_self_test(*, as_json: bool, busy: bool) -> int:
    """Test and print the result; returns 1 if this machine cannot measure, or the stack does not boot."""
    with tempfile.TemporaryDirectory(prefix="voiceloop-selftest-") as folder:
        try:
            result = self_test(Path(folder), busy=busy, progress=lambda text: print(f"  {text}", file=sys.stderr))
        except (StackError, PortError, OSError) as error:
            if as_json:
                print(json.dumps({"ok": False, "cannot": [f"the self-test came to no end: {error}"]}, indent=1))
            print(error, file=sys.stderr)
            return 1
    print(json.dumps(result.as_json(), indent=1) if as_json else "\n".join(table(result)))
    return 0 if result.ok else 1


def self_test(logs: Path, *, busy: bool = False, progress: Callable[[str], None] = lambda _: None) -> SelfTest:
    """Boot the scripted stack, take TURNS turns on it, and compare. It takes about 45 s.

    Logs go to the folder `logs`. With `busy` every core is kept busy by a process of its own meanwhile. Raises
    StackError, PortError or OSError where the stack cannot be booted or a turn breaks.
    """
    import psutil

    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(foreign_load(100 if busy else 0))
        live = stack.enter_context(live_stack(_spec(logs), logs / "services", progress=progress))
        psutil.cpu_percent()
        comparisons = []
        for number in range(WARMUP_TURNS + TURNS):
            comparisons.append(_compared(live, number))
            if number % 20 == 19:
                progress(f"{number + 1} of {WARMUP_TURNS + TURNS} turns")
        cpu_busy_percent = psutil.cpu_percent()
        progress("what a tap costs")
        taps_ms: dict[str, Spread] = {kind: spread(tap_cost(kind, TAP_FRAMES).added_ms) for kind in FRAMES}
    counted = comparisons[WARMUP_TURNS:]
    void = [comparison for comparison in counted if comparison.void_because]
    # A machine that is kept busy disturbs every turn; what that does is what was asked for.
    kept = counted if busy else [comparison for comparison in counted if not comparison.void_because]
    errors_ms = {name: spread([c.error_ms[name] for c in kept]) for name in kept[0].error_ms} if kept else {}
    lateness_ms = spread([late for c in counted for late in c.lateness_ms])
    progress("where sounds begin")
    return SelfTest(
        error_ms=errors_ms,
        pacer_lateness_ms=lateness_ms,
        tap_cost_ms=taps_ms,
        cannot=tuple(shortcomings(errors_ms, taps_ms, turns=TURNS, void_because=[c.void_because[0] for c in void])),
        turns=len(kept),
        void=len(void),
        cpu_busy_percent=cpu_busy_percent,
        busy=busy,
        passed_on_ms={role: spread([ms for c in kept for ms in c.passed_on_ms[role]]) for role in SENDERS}
        if kept
        else {},
        onset_error_ms=onset_errors_ms(),
        took_s=round(time.monotonic() - began_s, 1),
    )


def spread(values: Sequence[float]) -> Spread:
    """Median, 99th percentile and maximum, to the µs where the values are ms. Raises ValueError without values."""
    p50, p99, most = (round(percentile(values, percent), 3) for percent in (50, 99, 100))
    return Spread(p50, p99, most, len(values))


def shortcomings(
    errors_ms: Mapping[str, Spread], taps_ms: Mapping[str, Spread], *, turns: int, void_because: Sequence[str]
) -> Iterator[str]:
    """What a machine with these figures cannot measure, a sentence each.

    `void_because` has a reason for each void one of the `turns`.
    """
    off = {name: errors.p99 for name, errors in errors_ms.items() if errors.p99 > WANTED_MS}
    if off:
        worst = max(off, key=lambda name: off[name])
        what = ", ".join(off) if len(off) < 4 else f"{len(off)} of {len(errors_ms)} events and stages"
        yield (
            f"This machine cannot measure {what} to {WANTED_MS:g} ms: the harness is up to {off[worst]:.1f} ms off "
            f"({worst}, 99th percentile)."
        )
    left = turns - len(void_because)
    if left < LEAST_TURNS:
        example = f": {void_because[0]}" if void_because else ""
        yield f"This machine is disturbed too often: {left} of {turns} turns count, {LEAST_TURNS} have to{example}."
    slow = {name: cost.p99 for name, cost in taps_ms.items() if cost.p99 > WANTED_MS}
    if slow:
        yield (
            f"This machine cannot pass frames on unnoticed: a tap adds up to {max(slow.values()):.1f} ms to a frame "
            f"({', '.join(slow)}, 99th percentile), which the stack pays."
        )


def table(result: SelfTest) -> Iterator[str]:
    """The result as lines of at most 80 columns."""
    yield f"{result.turns} turns of a scripted stack in {result.took_s:.0f} s, {result.void} void"
    why = " (kept busy on purpose)" if result.busy else ""
    yield f"the machine's processors were {result.cpu_busy_percent:.0f} % busy{why}"
    yield ""
    yield _row("how far the harness is off, ms", "n", "median", "99 %", "most")
    for name, errors in result.error_ms.items():
        yield _row(f"  {name}", *_figures(errors))
    yield _row("a frame of the caller left late by, ms", *_figures(result.pacer_lateness_ms))
    for kind, cost in result.tap_cost_ms.items():
        yield _row(f"a tap adds to a frame of {kind}, ms", *_figures(cost))
    yield ""
    yield _row("where a sound begins, ms off", "n", "median", "95 %", "most")
    for condition, found in result.onset_error_ms.items():
        yield _row(f"  {condition}", str(found["n"]), *(f"{found[key]:.1f}" for key in ("p50", "p95", "max")))
    yield ""
    if result.ok:
        yield f"This machine can measure to {WANTED_MS:g} ms."
    for sentence in result.cannot:
        yield from textwrap.wrap(sentence, 80)


def _row(name: str, *cells: str) -> str:
    return f"{name:<40}" + "".join(f"{cell:>10}" for cell in cells)


def _figures(values: Spread) -> tuple[str, ...]:
    return (str(values.n), *(f"{value:.2f}" for value in (values.p50, values.p99, values.max)))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One turn, seen twice."""

    void_because: tuple[str, ...]
    error_ms: Mapping[str, float]
    lateness_ms: Sequence[float]
    passed_on_ms: Mapping[str, Sequence[float]]


def _compared(live: LiveStack, number: int) -> _Comparison:
    """Take a turn on a call of its own, and compare what the harness saw with what the services say."""
    logged = {process.name: process.log.stat().st_size for process in live.running.processes}
    with open_line(live) as line:
        capture = line.turn(_clip(number), judged=True)
        if capture.broken:
            raise capture.broken
        stamps = {process.name: process.stamped_since(logged[process.name]) for process in live.running.processes}
    occasion = Occasion(trial=number)
    seen = measured(capture, live, occasion, judged=True)
    if seen.missing or seen.status == "timeout":
        raise StackError(f"turn {number} of the self-test has no {', '.join(seen.missing)}; {capture.ended_by}")
    true = truth(capture, stamps)
    return _Comparison(
        seen.void_because if seen.status == "void" else (),
        differences_ms(seen, capture.t0_ns, measured(true, live, occasion, judged=True), true.t0_ns),
        capture.pacing.lateness_ms,
        {
            role: [
                (received - crossing.at_ns) / 1e6
                for crossing, received in zip(
                    (c for c in capture.crossings if c.role == role),
                    stamps[service].get((capture.call_id, "received"), ()),
                    strict=False,
                )
            ]
            for role, service in RECEIVERS.items()
        },
    )


def truth(capture: Capture, stamps: Mapping[str, Stamps]) -> Capture:
    """The same turn on a call of its own, with the services' stamps in place of the harness's.

    `stamps` are by service, from the turn's beginning. Raises StackError where one is missing.
    """
    sent = {role: iter(_of(stamps, service, capture.call_id, "sent")) for role, service in SENDERS.items()}
    crossings = tuple(replace(c, at_ns=_next(sent[c.role], SENDERS[c.role])) for c in capture.crossings)
    packets = iter(_of(stamps, "outbound", capture.call_id, "sent"))
    arrivals = tuple(replace(a, arrival_ns=_next(packets, "outbound")) for a in capture.arrivals)
    # The judge's is the only other call of that time, and BYE the last that is said on it.
    judged = [at for (call, what), at in stamps["whisper"].items() if call != capture.call_id and what == "sent"]
    assert capture.judgement
    return replace(
        capture,
        t0_ns=_true_t0_ns(capture.clip.speech_end, _of(stamps, "whisper", capture.call_id, "received")),
        crossings=crossings,
        arrivals=arrivals,
        reply_arrivals=arrivals[len(arrivals) - len(capture.reply_arrivals) :],
        judgement=capture.judgement._replace(complete_ns=_next(iter(judged[0][-1:] if judged else ()), "whisper")),
    )


def differences_ms(seen: Turn, seen_t0_ns: int, true: Turn, true_t0_ns: int) -> dict[str, float]:
    """|seen - true| of every event, on the clock, and of every stage and total."""
    off_ms = (seen_t0_ns - true_t0_ns) / 1e6
    found: dict[str, float] = {}
    for event in EVENTS:
        at_ms, true_ms = seen.events_ms[event], true.events_ms[event]
        if at_ms is not None and true_ms is not None:
            found[event] = abs(at_ms + off_ms - true_ms)
    for name in LATENCY_METRICS:
        took_ms, true_ms = latency_ms(seen, name), latency_ms(true, name)
        if took_ms is not None and true_ms is not None:
            found[name] = abs(took_ms - true_ms)
    return found


def _true_t0_ns(speech_end: int, received_ns: Sequence[int]) -> int:
    frame = (speech_end - 1) // FRAME_SAMPLES
    if frame >= len(received_ns):
        raise StackError(f"whisper stamped {len(received_ns)} frames of the caller; the last voiced one is {frame + 1}")
    after_ns = FRAME_NS - round((speech_end - frame * FRAME_SAMPLES) * 1e9 / RATE_HZ)
    return received_ns[frame] - after_ns


def _of(stamps: Mapping[str, Stamps], service: str, call_id: str, what: str) -> list[int]:
    return stamps[service].get((call_id, what), [])


def _next(stamps: Iterator[int], service: str) -> int:
    try:
        return next(stamps)
    except StopIteration:
        raise StackError(f"{service} sent a frame that it did not stamp; is it the scripted stack's own?") from None


def _spec(folder: Path) -> StackSpec:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    reply = folder / "reply.wav"
    soundfile.write(reply, _padded(_voice(350, REPLY_RATE_HZ), REPLY_RATE_HZ * REPLY_LEAD_MS // 1000, 0), REPLY_RATE_HZ)
    options = {name: [*delays, "--stamps"] for name, delays in DELAYS.items()}
    options["kokoro"] += ["--script-clip", str(reply)]
    return reference_stack("asap", scripted=True, options=options)


def _clip(number: int) -> Clip:
    """A made word. Its end falls at another place of a frame each time."""
    word, lead = _voice(WORD_MS, RATE_HZ), FRAME_SAMPLES + 37 * number % FRAME_SAMPLES
    samples = _padded(word, lead, FRAME_SAMPLES)
    said = Utterance(
        f"selftest-{number}", Path("selftest"), "This is a scripted transcript.", "selftest", synthetic=True
    )
    return Clip(said, samples, lead, lead + len(word))


def _padded(samples: NDArray[np.float32], before: int, after: int) -> NDArray[np.float32]:
    return np.pad(samples, (before, after))


def _voice(ms: int, rate_hz: int) -> NDArray[np.float32]:
    """Harmonics of 120 Hz up to 3 kHz at -20 dBFS: float32 mono, shape (n,)."""
    seconds = np.arange(ms * rate_hz // 1000) / rate_hz
    made = sum(np.sin(2 * np.pi * 120 * k * seconds + k * k) / k**0.7 for k in range(1, 25))
    return np.asarray(made / np.sqrt(np.mean(np.square(made))) / 10, np.float32)
