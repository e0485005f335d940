"""Faults by name: what can be written, what is refused with which words, and that a seed draws the same again."""

from pathlib import Path

import numpy as np
import pytest

from pytest_voiceloop.call.corpus import Clip, Utterance
from pytest_voiceloop.call.faults import (
    KINDS,
    Fault,
    FaultError,
    Stream,
    Strike,
    TurnFaults,
    check,
    check_all,
    fault,
    sample_of,
    slowed,
)
from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Caller, Link, Port, Service, SpecError, StackSpec
from pytest_voiceloop.wire.protocols import protocol

STACK = reference_stack(scripted=True)
WRITTEN = [
    'fault("delay", "llm_tts", duration="300ms")',
    'fault("jitter", "llama", duration="30ms", seed=7)',
    'fault("stall", "tts_out", item=3, after="20ms", duration="500ms")',
    'fault("drop", "tts_out", items=2, seed=0)',
    'fault("drop", "tts_out", bytes=5, seed=1)',
    'fault("corrupt", "stt_llm", at="t0", after="100ms", bytes=2, seed=3)',
    'fault("truncate", "tts_out")',
    'fault("half_close", "stt_llm", at="start")',
    'fault("reset", "llm_tts", item=2)',
    'fault("kill", "llama")',
    'fault("kill", "llama", at="llm_tts", item=2, duration="1500ms")',
    'fault("restart", "kokoro", after="250ms")',
    'fault("pause", "whisper", at="middle", duration="400ms")',
    'fault("noise", snr_db=10, seed=4)',
    'fault("mulaw")',
    'fault("rtp_loss", percent=2.5, seed=0)',
    'fault("rtp_jitter", duration="40ms", seed=9)',
    'fault("silence", at="start", after="300ms")',
    'fault("hang_up", at="tts_out")',
]


def test_every_kind_is_written_here() -> None:
    assert {eval(line, {"fault": fault}).kind for line in WRITTEN} == set(KINDS)


@pytest.mark.parametrize("line", WRITTEN)
def test_a_fault_says_the_line_that_makes_it_again(line: str) -> None:
    made = eval(line, {"fault": fault})
    assert str(made) == line
    check(made, STACK)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("rest", "llm_tts"), "there is no fault 'rest'; did you mean reset? There are delay, jitter"),
        (("boil", "llm_tts"), "there is no fault 'boil'. There are"),
        (("reset",), 'reset strikes a link; write fault("reset", "llm_tts", …)'),
        (("kill",), 'kill strikes a service; write fault("kill", "kokoro", …)'),
        (("noise", "whisper"), 'noise strikes a caller; write fault("noise", …)'),
        (("reset", "llm_tts", {"itm": 2}), "reset takes no 'itm'; did you mean item? It takes at, item, after"),
        (("mulaw", "caller", {"seed": 1}), "mulaw takes no 'seed'. It takes nothing more"),
        (("stall", "llm_tts"), 'stall needs duration: how long, such as duration="500ms"'),
        (("noise",), "noise needs snr_db: how much louder"),
        (("rtp_loss",), "rtp_loss needs percent: of how many packets"),
        (("reset", "llm_tts", {"after": 2}), 'after: 2 has no unit; write "2s" or "2ms"'),
        (("stall", "llm_tts", {"duration": "2h"}), "duration: '2h' is no duration"),
        (("stall", "llm_tts", {"duration": "2000s"}), "duration='2000s' is longer than any turn; 600s is the most"),
        (("reset", "llm_tts", {"at": "noon"}), "at='noon' is no moment of reset; there are start, middle, t0, stt_llm"),
        (("silence", "caller", {"at": "tts_out"}), "at='tts_out' is no moment of silence; there are start, middle, t0"),
        (("reset", "llm_tts", {"item": 0}), "item=0 will not do; write a whole number, 1 to 1000000"),
        (("reset", "llm_tts", {"item": True}), "item=True will not do"),
        (("reset", "llm_tts", {"at": "t0", "item": 2}), "item=2 counts what passes on a link; at='t0' is none"),
        (("corrupt", "llm_tts", {"seed": -1}), "seed=-1 will not do"),
        (("rtp_loss", "caller", {"percent": 101}), "percent=101 will not do; write a number, 0 to 100"),
        (("drop", "llm_tts", {"items": 2, "bytes": 2}), "drop takes items or bytes, not both"),
    ],
)
def test_what_is_no_fault_is_told_so(given: tuple, said: str) -> None:
    kind, where, more = (*given, "caller", {})[:3] if len(given) < 3 else given
    with pytest.raises(FaultError) as raised:
        fault(kind, where, **(more if isinstance(more, dict) else {}))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('fault("reset", "whisper")', "no tapped link is or leads into 'whisper'; there are stt_llm, llm_tts, tts_out"),
        ('fault("kill", "piper")', "no service is called 'piper'; there are whisper, llama, kokoro, outbound"),
    ],
)
def test_what_a_stack_cannot_suffer_is_told_with_the_line(line: str, said: str) -> None:
    with pytest.raises(FaultError) as raised:
        check(eval(line, {"fault": fault}), STACK)
    assert str(raised.value).startswith(f"{line}: {said}")


def test_a_moment_that_no_tap_shows_is_refused() -> None:
    untapped = StackSpec(
        STACK.services,
        tuple(link for link in STACK.links if link.role != "tts_out"),
        {**STACK.neighbours},
    )
    with pytest.raises(FaultError, match="no tapped link shows tts_out; there are stt_llm, llm_tts"):
        check(fault("kill", "llama", at="tts_out"), untapped)


def test_rtp_is_not_lost_where_there_is_none() -> None:
    phoned = StackSpec(STACK.services, STACK.links, STACK.neighbours, caller=Caller("websocket"))
    with pytest.raises(FaultError, match=r"\(websocket\) is sent no RTP"):
        check(fault("rtp_loss", percent=5), phoned)


def test_a_service_that_runs_already_is_not_ours_to_stop() -> None:
    there = Service("llm", (), {"http": Port("tcp", 8080, host="127.0.0.1")})
    stack = StackSpec((there,), (Link("llm_tts", "caller", "llm", "http", "openai-chat"),), {})
    with pytest.raises(FaultError, match="llm runs already, started by somebody else"):
        check(fault("restart", "llm"), stack)


@pytest.mark.parametrize("second", [fault("kill", "kokoro"), fault("restart", "kokoro", at="tts_out")])
def test_a_service_is_taken_down_once_a_turn_at_most(second: Fault) -> None:
    with pytest.raises(FaultError) as raised:
        check_all([fault("kill", "kokoro"), second], STACK)
    assert str(raised.value) == (
        f'{second}: fault("kill", "kokoro") takes kokoro down in the same turn already; keep one of them, or lift one '
        "before the next is injected"
    )


def test_several_services_are_taken_down_in_a_turn() -> None:
    check_all([fault("kill", "kokoro"), fault("restart", "llama"), fault("pause", "kokoro", duration="1s")], STACK)


def test_the_option_says_itself_again() -> None:
    assert str(slowed("llama", 1000.0, STACK)) == "--voiceloop-slow=llama=1000ms"


def test_a_service_without_tap_cannot_be_slowed() -> None:
    with pytest.raises(FaultError, match="no tapped link is or leads into 'whisper'"):
        slowed("whisper", 1000.0, STACK)


def test_an_unknown_service_cannot_be_slowed() -> None:
    with pytest.raises(SpecError, match="no service is called 'x'"):
        slowed("x", 1000.0, STACK)


# --- ways


AGENT = Service("agent", ("agent",), {"ws": Port()})
STAR = StackSpec(
    (AGENT, Service("llm", ("llm",), {"http": Port()})),
    (Link("llm_tts", "agent", "llm", "http", "openai-chat", other="stt_llm"),),
    {},
)


@pytest.mark.parametrize(("where", "direction"), [("llm_tts", "back"), ("stt_llm", "forward"), ("llm", "forward")])
def test_a_fault_strikes_the_way_on_which_its_items_pass(where: str, direction: str) -> None:
    spoken = {link: protocol(link.protocol) for link in STAR.links}
    assert TurnFaults([], STAR, spoken).way(fault("reset", where)) == (STAR.links[0], direction)


# --- seeds


def due_ns(seed: int) -> list[int]:
    stream = Stream([Strike(fault("jitter", "llm_tts", duration="50ms", seed=seed))])
    return [stream.through(b"x", at_ns, item=True).due_ns - at_ns for at_ns in range(0, 1000, 10)]


def test_jitter_is_drawn_from_its_seed_and_within_its_bounds() -> None:
    assert due_ns(1) == due_ns(1) != due_ns(2)
    assert 0 <= min(due_ns(1)) < 10e6
    assert 40e6 < max(due_ns(1)) <= 50e6


def test_delays_add_up() -> None:
    strikes = [Strike(fault("delay", "llm_tts", duration="50ms")), Strike(fault("delay", "kokoro", duration="20ms"))]
    assert Stream(strikes).through(b"x", 1000, item=True).due_ns == 1000 + 70_000_000


# --- moments


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ('fault("hang_up")', 15_000),
        ('fault("hang_up", at="start", after="500ms")', 8_000),
        ('fault("hang_up", at="t0", after="1s")', 36_000),
    ],
)
def test_spoken_moments_are_places_in_the_clip(line: str, sample: int) -> None:
    clip = Clip(Utterance("u", Path("u.wav"), "text"), np.zeros(32_000, np.float32), 10_000, 20_000)
    assert sample_of(eval(line, {"fault": fault}), clip, 16_000) == sample
