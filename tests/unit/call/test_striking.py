"""What goes wrong in the thread of a fault is not lost, and nobody waits for a fault who was interrupted."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_voiceloop.call.corpus import Clip, Utterance
from pytest_voiceloop.call.faults import TurnFaults, fault
from pytest_voiceloop.call.pacing import Pacing
from pytest_voiceloop.call.striking import striking
from pytest_voiceloop.call.tap import Recorder
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.reference import reference_stack

FULL = OSError(28, "No space left on device")
GONE = StackError("llama ended before it was ready")
CLIP = Clip(Utterance("one", Path("one.wav"), "Hello."), np.zeros(16_000, np.float32), 0, 16_000)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


def live_with(restart: Callable[..., None]) -> Any:
    """A live stack whose services are restarted so."""
    return SimpleNamespace(recorder=Recorder(), running=SimpleNamespace(restart=restart), relays=[], turn_faults={})


def killed(*services: str) -> TurnFaults:
    return TurnFaults([fault("kill", name, at="start") for name in services], reference_stack(scripted=True), {})


def begun() -> Pacing:
    """A second ago: the moment of every fault has come."""
    return Pacing(time.monotonic_ns() - 10**9, [])


def said_of(*wrong: Exception) -> list[str]:
    """What a turn tells in which every fault goes wrong, each in its way."""
    services = ("kokoro", "llama")[: len(wrong)]
    fails = dict(zip(services, wrong, strict=True))

    def restart(name: str, *_: object) -> None:
        raise fails[name]

    live = live_with(restart)
    with striking(live, "151", killed(*services), begun(), CLIP) as turn:
        until(lambda: len(turn.errors) == len(wrong))
    assert live.turn_faults == {}
    return sorted(map(str, turn.errors))


def test_a_service_that_does_not_come_back_is_told_as_it_is() -> None:
    assert said_of(GONE) == [str(GONE)]


def test_any_other_error_is_told_with_the_fault() -> None:
    (said,) = said_of(FULL)
    assert said.startswith('fault("kill", "kokoro", at="start") could not be carried out: OSError: ')
    assert "No space left on device" in said


def test_of_two_faults_that_go_wrong_both_are_told() -> None:
    assert len(said_of(FULL, GONE)) == 2


class Interrupt(BaseException):
    """Ctrl-C, or the end of a test's time."""


def interrupt(*_: object) -> None:
    raise Interrupt


def test_who_is_interrupted_while_a_service_comes_back_waits_no_longer() -> None:
    struck, told, turns = threading.Event(), [], []

    def restart(name: str, number: signal.Signals, down_s: float, abandoned: threading.Event) -> None:
        struck.set()
        until(lambda: turns and turns[0].over.is_set())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        told.append(abandoned.wait(20))

    def speak() -> None:
        with striking(live_with(restart), "151", killed("kokoro"), begun(), CLIP) as turn:
            turns.append(turn)
            assert struck.wait(20)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupt):
            speak()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [True]
