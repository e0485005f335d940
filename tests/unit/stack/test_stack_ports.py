"""How numbers are laid out, and what is refused."""

import random
import socket
from contextlib import ExitStack

import pytest

from pytest_voiceloop.stack import ports
from pytest_voiceloop.stack.ports import PAGE, PortError, allocate
from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Addresses, Link, Port, Service, Slots, SpecError, StackSpec


def one_service(*, slots: Slots | None = None, tap: bool = True, **declared: Port) -> StackSpec:
    service = Service("brain", ("brain",), declared or {"listen": Port("tcp", 8083)})
    links = (Link("stt_llm", "ear", "brain", "listen"),) if tap and not declared else ()
    return StackSpec((service,), links, {}, slots=slots or Slots())


def numbers(spec: StackSpec, made: Addresses) -> list[int]:
    """Every number the stack and its taps use."""
    declared = {(s.name, name): port for s in spec.services for name, port in s.ports.items()} | dict(spec.neighbours)
    entries = [(key, base) for key, base in made.bind.items()]
    entries += [(key, base) for key, base in made.reach.items() if base != made.bind[key]]
    return [base + i for key, base in entries for i in (spec.slots.ids() if declared[key].per_call else (0,))]


def bound_elsewhere(protocol: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    if protocol == "tcp":
        made.listen()
    return made


@pytest.fixture
def lowest(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first of pages that are tried in order and that no other run on this machine uses."""
    number = random.randrange(10_000, 18_000)
    monkeypatch.setattr(ports, "_LOWEST", number)
    monkeypatch.setattr(ports, "_GUARDS", number - 500)
    monkeypatch.setattr(ports.random, "shuffle", lambda _: None)
    return number


def test_no_number_is_given_twice() -> None:
    spec = reference_stack()
    with allocate(spec) as made:
        all_numbers = numbers(spec, made)
    assert len(set(all_numbers)) == len(all_numbers)


def test_a_tapped_link_is_reached_elsewhere_than_bound() -> None:
    with allocate(one_service()) as made:
        assert made.reach["brain", "listen"] != made.bind["brain", "listen"]


def test_an_untapped_port_is_reached_where_it_is_bound() -> None:
    with allocate(one_service(tap=False)) as made:
        assert made.reach == made.bind


def test_two_stacks_of_one_process_do_not_meet() -> None:
    spec = reference_stack()
    with ExitStack() as held:
        all_numbers = [n for _ in range(20) for n in numbers(spec, held.enter_context(allocate(spec)))]
    assert len(set(all_numbers)) == len(all_numbers)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_foreign_socket_in_the_page_makes_it_choose_another(lowest: int, protocol: str) -> None:
    spec = one_service()
    with allocate(spec) as made:
        assert made.bind["brain", "listen"] == lowest
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as foreign:
        foreign.bind(("0.0.0.0", lowest + 1))
        if protocol == "tcp":
            foreign.listen()
        with allocate(spec) as made:
            assert made.bind["brain", "listen"] - lowest >= PAGE


@pytest.mark.usefixtures("lowest")
def test_a_page_is_free_again_after_its_context() -> None:
    with allocate(one_service()) as first:
        pass
    with allocate(one_service()) as second:
        assert first == second


def test_every_page_in_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_free", lambda *_: False)
    with pytest.raises(PortError, match="no 2 free consecutive ports between 20000 and"), allocate(one_service()):
        pass


def test_too_many_slots_are_refused() -> None:
    spec = one_service(slots=Slots(151, 300), audio=Port("tcp", 9002, per_call=True))
    with pytest.raises(SpecError, match="needs 300 ports; 256 is the most: declare fewer call slots"), allocate(spec):
        pass


def test_a_block_over_several_pages_is_held_whole() -> None:
    spec = one_service(slots=Slots(151, 200), audio=Port("tcp", 9002, per_call=True))
    with allocate(spec) as wide, allocate(spec) as other:
        assert abs(wide.bind["brain", "audio"] - other.bind["brain", "audio"]) >= 200


def test_a_stack_without_any_port_is_served_too() -> None:
    with allocate(StackSpec((Service("deaf", ("deaf",), {}),), (), {})) as made:
        assert made.bind == {}


def test_a_machine_with_a_wide_ephemeral_range_still_gets_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_ephemeral_low", lambda: 1024)
    with allocate(one_service()) as made:
        assert made.bind["brain", "listen"] >= 20_000


# --- the fixed plan


def test_the_fixed_plan_binds_its_own_numbers_and_taps_elsewhere(lowest: int) -> None:
    spec = StackSpec(
        (Service("brain", ("brain",), {"listen": Port("tcp", lowest - 1)}),),
        (Link("stt_llm", "ear", "brain", "listen"),),
        {},
    )
    with allocate(spec, fixed=True) as made:
        assert made.bind["brain", "listen"] == lowest - 1
        assert made.reach["brain", "listen"] == lowest


def test_the_fixed_plan_without_taps(lowest: int) -> None:
    with allocate(one_service(tap=False, listen=Port("tcp", lowest)), fixed=True) as made:
        assert made.bind == made.reach == {("brain", "listen"): lowest}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_fixed_port_in_use_is_named_with_the_cure(protocol: str) -> None:
    with bound_elsewhere(protocol) as foreign:
        number = foreign.getsockname()[1]
        spec = one_service(listen=Port(protocol, number))  # type: ignore[arg-type]
        with pytest.raises(PortError) as caught, allocate(spec, fixed=True):
            pass
    assert f"{protocol} port {number} (brain, listen) of the fixed plan is in use" in str(caught.value)
    assert f"ss -lp 'sport = {number}'" in str(caught.value)
    assert "--voiceloop-ports=auto" in str(caught.value)


def test_a_fixed_per_call_port_in_use_is_named() -> None:
    with bound_elsewhere("tcp") as foreign:
        number = foreign.getsockname()[1]
        spec = one_service(slots=Slots(10, 3), audio=Port("tcp", number - 11, per_call=True))
        with pytest.raises(PortError, match=f"tcp port {number} "), allocate(spec, fixed=True):
            pass


def test_a_fixed_plan_that_meets_itself_is_refused() -> None:
    spec = one_service(slots=Slots(10, 2), a=Port("tcp", 61_001, per_call=True), b=Port("tcp", 61_002, per_call=True))
    with (
        pytest.raises(SpecError, match=r"gives tcp port 61012 to \(brain, a\) and to \(brain, b\).*step=2"),
        allocate(spec, fixed=True),
    ):
        pass


def test_the_reference_stacks_fixed_plan_does_not_meet_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_free", lambda *_: True)
    with allocate(reference_stack(), fixed=True) as made:
        assert made.bind["outbound", "audio"] == 9002
