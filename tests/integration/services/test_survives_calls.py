"""REGISTER and BYE that go astray, ids used twice, many calls at once and one after another."""

import threading
import time

import pytest
from lines import udp_socket
from neighbours import send_datagram, until
from whole_stack import HOST, SERVICES, Caller, Stack, account_of, unharmed

PART = "Calls on the reference services"
UNHARMED = {"lost": 0, "doubled": 0, "crossed": 0, "leaked": 0}
GROWTH_MIB = 8
"""What a Python process may gain over many calls; its allocator never gives everything back."""


@pytest.fixture(scope="module")
def relayed_stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("relayed"), relayed=True)
    yield made
    made.stop()


@pytest.fixture
def stack(relayed_stack):
    yield relayed_stack
    for registrar in relayed_stack.registrars.values():
        registrar.fault = unharmed
    relayed_stack.hang_up_all()


@pytest.fixture(scope="module")
def slow_stack(tmp_path_factory):
    """Kokoro takes as long as it speaks, and outbound as a telephone does: there is time to hang up in between."""
    made = Stack(tmp_path_factory.mktemp("slow"), kokoro=("--script-rtf", 1), outbound=("--pace", "realtime"))
    yield made
    made.stop()


class Lost:
    """The first two never arrive."""

    left = 2

    def __call__(self, data):
        self.left -= 1
        return [data] if self.left < 0 else []


def total(accounts):
    return {key: sum(each[key] for each in accounts) for key in ("lost", "doubled", "crossed")}


def tripled(data):
    return [data] * 3


def next_call(stack, account, case, happened):
    """A call on the same id has to be as good as any; the row says how long it took to come about and be answered."""
    began_s = time.monotonic()
    caller = Caller(stack, 1).dial()
    caller.turn(4)
    recovered_s = time.monotonic() - began_s
    caller.finish()
    counted = {**account_of(caller), "leaked": stack.wait_idle()}
    account(PART, case, happened, recovered_s=recovered_s, **counted)
    assert stack.alive()
    assert counted == UNHARMED


@pytest.mark.parametrize(("astray", "fault"), [("lost twice", Lost()), ("tripled", tripled)], ids=["lost", "tripled"])
@pytest.mark.parametrize("receiver", ["whisper", "kokoro"])
def test_a_register_astray_does_not_harm_its_call(stack, account, receiver, astray, fault):
    if isinstance(fault, Lost):
        fault.left = 2
    stack.registrars[receiver].fault = fault
    next_call(stack, account, f"REGISTER to {receiver}: {astray}", "repeated until the call came about; one call")


@pytest.mark.parametrize("receiver", ["whisper", "kokoro"])
def test_a_register_that_comes_after_its_call_does_not_harm_the_next(stack, account, receiver):
    line = {"whisper": "call 1: registered by", "kokoro": "call 1: connected to outbound"}[receiver]
    caller = Caller(stack, 1).dial()
    caller.turn(2)
    caller.finish()
    assert stack.wait_idle() == 0
    before = stack.log(receiver).count(line)
    # By the way that outbound's BYE took, so that it comes after it.
    send_datagram(stack.register_port(receiver), "REGISTER:1")
    until(lambda: stack.log(receiver).count(line) > before, f"{receiver} to obey")
    next_call(
        stack,
        account,
        f"REGISTER to {receiver}: late, its call is over",
        "taken for the next call of the id, which came",
    )


def test_a_caller_who_registers_at_outbound_after_the_reply_hears_it_whole(stack, account):
    before = len(stack.log("outbound"))
    caller = Caller(stack, 1)
    caller.tell_whisper("REGISTER")
    caller.wait_for_whisper()
    caller.say(3)
    until(lambda: "call 1: kokoro connected" in stack.log("outbound")[before:], "the reply at outbound")
    began_s = time.monotonic()
    caller.tell_outbound("REGISTER")
    caller.hear()
    recovered_s = time.monotonic() - began_s
    caller.finish()
    counted = {**account_of(caller), "leaked": stack.wait_idle()}
    account(PART, "REGISTER to outbound: late, after the reply", "the reply waited", recovered_s=recovered_s, **counted)
    assert counted == UNHARMED


@pytest.mark.parametrize("receiver", ["whisper", "kokoro", "outbound"])
def test_a_register_for_an_unknown_call_is_refused(stack, account, receiver):
    port = stack.port("outbound", "register", 1) if receiver == "outbound" else stack.port(receiver, "register")
    before = len(stack.log(receiver))
    send_datagram(port, "REGISTER:4711")
    told = until(lambda: stack.complaints(receiver, before), "a warning")
    next_call(stack, account, f"REGISTER to {receiver}: for an unknown call", f"refused; {receiver}: {told[0]}")


def before_the_reply(caller):
    caller.say(3)


def during_the_reply(caller):
    caller.say(3)
    caller.hear_packet()


def after_the_reply(caller):
    caller.turn(3)


@pytest.mark.parametrize("moment", [before_the_reply, during_the_reply, after_the_reply])
def test_bye_on_the_line_lets_the_reply_be_finished(slow_stack, account, moment):
    caller = Caller(slow_stack, 1).dial()
    moment(caller)
    caller.finish()
    counted = account_of(caller)
    assert counted == {"lost": 0, "doubled": 0, "crossed": 0}
    when = moment.__name__.replace("_", " ")
    next_call(slow_stack, account, f"BYE on the line {when}", "the reply was heard whole, then BYE")


@pytest.mark.parametrize("moment", [before_the_reply, during_the_reply, after_the_reply])
def test_a_hang_up_discards_what_is_left(slow_stack, account, moment):
    caller = Caller(slow_stack, 1).dial()
    moment(caller)
    caller.hang_up()
    when = moment.__name__.replace("_", " ")
    next_call(slow_stack, account, f"hung up (BYE as a datagram) {when}", "what was left is heard by nobody")


def test_another_caller_with_the_id_of_a_call_takes_its_sound_over(stack, account):
    caller = Caller(stack, 1).dial()
    before = {name: len(stack.log(name)) for name in SERVICES}
    with udp_socket() as stranger:
        for port in (stack.port("whisper", "register"), stack.port("outbound", "register", 1)):
            stranger.sendto(b"REGISTER:1", (HOST, port))
        told = until(lambda: stack.complaints("outbound", before["outbound"]), "a warning")
    caller.hang_up()
    next_call(stack, account, "REGISTER of a second caller with the id of a call", f"takes over; outbound: {told[0]}")


def test_eight_calls_at_once_are_all_answered_and_none_crossed(stack, account):
    calls = [Caller(stack, call_id) for call_id in range(1, 9)]
    failures = []

    def talk(caller):
        try:
            caller.dial()
            # Every length is said in one call alone.
            for las in (caller.call_id, caller.call_id + 8):
                caller.turn(las)
            caller.finish()
        except Exception as error:
            failures.append(error)

    began_s = time.monotonic()
    threads = [threading.Thread(target=talk, args=(caller,)) for caller in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began_s
    assert not failures
    counted = {**total([account_of(caller) for caller in calls]), "leaked": stack.wait_idle()}
    account(PART, "eight calls at once, two turns each", f"all answered within {took_s:.1f} s", **counted)
    assert counted == UNHARMED


def test_calls_one_after_another_leave_nothing_behind(tmp_path, account, soaking):
    count = 1000 if soaking else 40
    stack = Stack(tmp_path)
    try:
        accounts = []
        for number in range(count // 4 + count):
            if number == count // 4:
                assert stack.wait_idle() == 0
                before = stack.memory_mib()
            caller = Caller(stack, 1 + number % 9).dial()
            caller.say(1 + number % 4, hurry=True)
            caller.finish()
            accounts.append(account_of(caller))
        counted = {**total(accounts), "leaked": stack.wait_idle()}
        grown = {name: mib - before[name] for name, mib in stack.memory_mib().items()}
    finally:
        stack.stop()
    most = max(grown, key=grown.get)
    account(
        PART,
        f"{count:,} calls one after another",
        f"each answered; memory grew by {grown[most]:.1f} MiB in {most}, less in the others",
        **counted,
    )
    assert counted == UNHARMED
    assert grown[most] < GROWTH_MIB, grown
