"""Kills, pauses and broken links: a service connects again, or closes that one call and says so. Other calls go on."""

import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from neighbours import silence, until
from whole_stack import (
    PATIENCE_S,
    SERVICES,
    Caller,
    Stack,
    account_of,
    corrupted,
    half_closed,
    reset,
    resetting,
    stalled,
    truncated,
)

from pytest_voiceloop.wire import frames, rtp

PART = "The reference services"
OTHER_LAS = 2
ESTABLISHED = "01"
"""In /proc/net/tcp."""


@pytest.fixture(scope="module")
def relayed_stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("relayed"), relayed=True)
    yield made
    made.stop()


@pytest.fixture
def stack(relayed_stack):
    yield relayed_stack
    relayed_stack.hang_up_all()


@pytest.fixture(scope="module")
def slow_stack(tmp_path_factory):
    """Without relays, so that who is dead refuses. Kokoro takes as long as it speaks: there is time to kill it."""
    made = Stack(tmp_path_factory.mktemp("direct"), kokoro=("--script-rtf", 1))
    yield made
    made.stop()


@pytest.fixture
def direct_stack(slow_stack):
    yield slow_stack
    slow_stack.hang_up_all()


class Trial:
    """A fault while two calls are open, and what came of it."""

    def __init__(self, stack):
        self.stack = stack
        stack.forget_joints()
        before = len(stack.log("kokoro"))
        self.caller, self.other = (Caller(stack, call_id).dial() for call_id in (1, 2))
        for call_id in (1, 2):
            # The last connection of a call to be made: from here on, what is lost is the fault's doing.
            until(lambda said=f"call {call_id}: llama connected": said in stack.log("kokoro")[before:], "the calls")
        self.before = {name: len(stack.log(name)) for name in SERVICES}
        self._struck_s = time.monotonic()
        self.callers = [self.caller]
        self.closed = False

    def strike(self):
        """The fault happens now."""
        self._struck_s = time.monotonic()

    def dial_again(self):
        self.caller.hang_up()
        self.caller = Caller(self.stack, self.caller.call_id).dial()
        self.callers.append(self.caller)

    def recover(self, las):
        """Hear until the reply to `las`, on the id's next call where this one is closed. Seconds since the fault."""
        self.caller.say(las)
        while las not in self.caller.heard:
            if self.caller.hear().ended == "closed":
                self.closed = True
                self.dial_again()
                self.caller.say(las)
        return time.monotonic() - self._struck_s

    def other_goes_on(self):
        """Whether the call beside it is still up and answered."""
        reply = self.other.turn(OTHER_LAS)
        return (reply.las, reply.ended) == (OTHER_LAS, "end")

    def complaints(self, *services):
        """What they warned of since the fault, and in which service."""
        return [f"{name}: {line}" for name in services for line in self.stack.complaints(name, self.before[name])]

    def complaint(self, service, call_id=1):
        """The first warning of a service that names the call."""
        start = f"{service}: call {call_id}:"
        return until(
            lambda: next((line for line in self.complaints(service) if line.startswith(start)), None),
            f"a warning of {service} about call {call_id}; there are {self.complaints(*SERVICES)}",
        )

    def finish(self):
        """Both calls end as calls do. What was lost, heard twice, heard in the wrong call, and is held still."""
        for caller in (self.caller, self.other):
            caller.finish()
        assert self.stack.alive()
        return {**account_of(*self.callers), "leaked": self.stack.wait_idle()}


LINKS = {"llama": "whisper → llama", "kokoro": "llama → kokoro", "outbound": "kokoro → outbound"}
BREAKS = {"half-closed": half_closed, "reset": reset, "cut off in mid-frame": truncated, "corrupted header": corrupted}


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("target", LINKS)
def test_a_broken_link_ends_its_call_at_most_and_no_other(stack, account, target, broken):
    trial = Trial(stack)
    joint = stack.joint(target, 1)
    joint.fault = BREAKS[broken]
    trial.caller.say(3)
    assert joint.struck.wait(PATIENCE_S)
    trial.strike()
    if target == "outbound":
        until(lambda: stack.joint(target, 1) is not joint, "kokoro's next connection")
    recovered_s = trial.recover(4)
    went_on = trial.other_goes_on()
    told = trial.complaint(target)
    counted = trial.finish()
    happened = f"{'the call was closed' if trial.closed else 'connected again, the call went on'}; {told}"
    account(PART, f"{LINKS[target]}: {broken}", happened, recovered_s=recovered_s, **counted)
    assert went_on
    assert trial.closed == (target != "outbound")
    assert counted == {"lost": 1, "doubled": 0, "crossed": 0, "leaked": 0}


@pytest.mark.parametrize("target", LINKS)
def test_a_stalled_link_delays_its_call_and_no_other(stack, account, target):
    trial = Trial(stack)
    joint = stack.joint(target, 1)
    joint.fault = stalled
    trial.caller.say(3)
    assert joint.struck.wait(PATIENCE_S)
    went_on = trial.other_goes_on()
    trial.strike()
    joint.release.set()
    recovered_s = trial.recover(4)
    counted = trial.finish()
    account(PART, f"{LINKS[target]}: stalled, then let go", "the reply came late", recovered_s=recovered_s, **counted)
    assert went_on
    assert counted == {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}


CALLER_BREAKS = {
    "half-closed": lambda line: line.shutdown(socket.SHUT_WR),
    "reset": resetting,
    "cut off in mid-frame": lambda line: (line.sendall(frames.encode_audio_in(silence(0.1))[:-2]), line.close()),
    "corrupted header": lambda line: line.sendall(b"\x55" + frames.encode_audio_in(silence(0.1))[1:]),
}


@pytest.mark.parametrize("broken", CALLER_BREAKS)
def test_a_broken_line_from_the_caller_ends_its_call_and_no_other(stack, account, broken):
    trial = Trial(stack)
    trial.strike()
    CALLER_BREAKS[broken](trial.caller.line)
    trial.complaint("whisper")
    trial.dial_again()
    recovered_s = trial.recover(4)
    went_on = trial.other_goes_on()
    told = trial.complaint("whisper")
    counted = trial.finish()
    account(PART, f"caller → whisper: {broken}", f"the call was closed; {told}", recovered_s=recovered_s, **counted)
    assert went_on
    assert counted == {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}


READS_AT = {
    "whisper": ("caller", "audio"),
    "llama": ("llama", "listen"),
    "kokoro": ("kokoro", "listen"),
    "outbound": ("outbound", "audio"),
}
"""The ports of the connections that bring a service its work; those of audio have one for each call."""


def stands_still(process):
    """Whether every thread has stopped: one that has not may still read what comes."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/stat")]
    except OSError:
        return False  # a thread has just ended
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def held_up(stack, name):
    """On how many connections more than a HELLO waits for a service to read it."""
    at = READS_AT[name]
    ports = {stack.port(*at, offset) for offset in ((1, 2) if "audio" in at else (0,))}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Both ends of a connection have a row; the other one has nothing to read.
    return sum(
        int(row[4].split(":")[1], 16) > len(frames.encode_hello("1"))
        for row in rows
        if row[3] == ESTABLISHED and ports & {int(end.split(":")[1], 16) for end in row[1:3]}
    )


def hears_nothing(caller):
    """Whether no RTP has come. Answers to a REGISTER that was repeated are read and forgotten."""
    caller.udp.setblocking(False)
    try:
        while rtp.decode(caller.udp.recv(999)) is None:
            pass
    except BlockingIOError:
        return True
    finally:
        caller.udp.setblocking(True)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads socket queues as Linux shows them")
@pytest.mark.parametrize("name", SERVICES)
def test_a_paused_service_goes_on_where_it_was(direct_stack, account, name):
    trial = Trial(direct_stack)
    direct_stack.signal(name, signal.SIGSTOP)
    try:
        until(lambda: stands_still(direct_stack.process(name)), f"{name} to stand still")
        trial.caller.say(3)
        trial.other.say(OTHER_LAS)
        until(lambda: held_up(direct_stack, name) == 2, f"what both callers said to wait for {name}")
        silent = hears_nothing(trial.caller) and hears_nothing(trial.other)
        trial.strike()
    finally:
        direct_stack.signal(name, signal.SIGCONT)
    recovered_s = trial.recover(4)
    other = trial.other.hear()
    counted = trial.finish()
    account(
        PART,
        f"{name} paused (SIGSTOP) until what two callers said waits for it, then continued",
        "nothing was heard before it was continued, then both replies; the calls went on",
        recovered_s=recovered_s,
        **counted,
    )
    assert silent
    assert (other.las, other.ended, trial.closed) == (OTHER_LAS, "end", False)
    assert counted == {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}


@pytest.mark.parametrize("when", ["between two turns", "while a reply is made"])
@pytest.mark.parametrize("name", ["whisper", "llama", "kokoro"])
def test_a_service_that_is_killed_ends_its_calls_and_serves_the_next(direct_stack, account, name, when):
    trial = Trial(direct_stack)
    if when == "while a reply is made":
        trial.caller.say(3)
        until(lambda: "call 1: reply" in direct_stack.log("llama")[trial.before["llama"] :], "llama's reply")
    direct_stack.kill(name)
    trial.strike()
    direct_stack.start(name)
    recovered_s = trial.recover(4)
    trial.other.hang_up()
    trial.other = Caller(direct_stack, 2).dial()
    went_on = trial.other_goes_on()
    tells = {"whisper": "llama", "llama": "whisper", "kokoro": "llama"}[name]
    told = trial.complaint(tells)
    counted = trial.finish()
    account(
        PART,
        f"{name} killed {when}, started again",
        f"both calls were closed, the next ones answered; {told}",
        recovered_s=recovered_s,
        **counted,
    )
    assert trial.closed
    assert went_on
    assert counted["lost"] <= 1
    assert {**counted, "lost": 0} == {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}


@pytest.mark.parametrize("when", ["between two turns", "while a reply is made"])
def test_a_killed_outbound_is_connected_to_again_and_heard_once_the_caller_registers(direct_stack, account, when):
    trial = Trial(direct_stack)
    if when == "while a reply is made":
        trial.caller.say(3)
        until(lambda: "call 1: reply" in direct_stack.log("llama")[trial.before["llama"] :], "llama's reply")
    direct_stack.kill("outbound")
    trial.strike()
    direct_stack.start("outbound")
    direct_stack.lives["outbound"][-1].ready()
    for caller in (trial.caller, trial.other):
        caller.tell_outbound("REGISTER")
    recovered_s = trial.recover(4)
    went_on = trial.other_goes_on()
    counted = trial.finish()
    account(
        PART,
        f"outbound killed {when}, started again",
        "no call was closed; they are heard again once the caller repeats REGISTER",
        recovered_s=recovered_s,
        **counted,
    )
    assert went_on
    assert not trial.closed
    assert counted["lost"] <= 1
    assert {**counted, "lost": 0} == {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}


def test_what_an_outbound_that_was_started_again_holds_is_not_heard_by_the_next_caller(direct_stack, account):
    trial = Trial(direct_stack)
    direct_stack.kill("outbound")
    trial.strike()
    direct_stack.start("outbound")
    direct_stack.lives["outbound"][-1].ready()
    trial.caller.say(3)
    until(lambda: "call 1: kokoro connected" in direct_stack.lives["outbound"][-1].log, "kokoro at the new outbound")
    trial.dial_again()
    recovered_s = trial.recover(4)
    trial.other.tell_outbound("REGISTER")
    went_on = trial.other_goes_on()
    counted = trial.finish()
    account(
        PART,
        "outbound killed, started again, the caller hangs up without REGISTER; another one takes the id",
        "the next caller heard his own reply alone",
        recovered_s=recovered_s,
        **counted,
    )
    assert went_on
    assert counted == {"lost": 1, "doubled": 0, "crossed": 0, "leaked": 0}
