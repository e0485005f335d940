"""Specs that do not fit together are refused, with the part and the remedy in the message."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Addresses, Link, Port, Service, Slots, SpecError, StackSpec

EAR = Service("ear", ("ear", "--brain", "{brain.listen}"), {})
BRAIN = Service("brain", ("brain", "--listen", "{brain.listen}"), {"listen": Port("tcp", 8083), "tell": Port("udp", 1)})
LINK = Link("stt_llm", "ear", "brain", "listen")


def stack(*services: Service, links: tuple[Link, ...] = (LINK,), neighbours: Any = None) -> StackSpec:
    return StackSpec(services or (EAR, BRAIN), links, neighbours or {})


def test_a_stack_that_fits_is_accepted() -> None:
    assert stack().service("brain") is BRAIN


@pytest.mark.parametrize(
    ("services", "links", "message"),
    [
        ((EAR, EAR, BRAIN), (LINK,), "two services are called 'ear'"),
        ((replace(EAR, name="Ear"), BRAIN), (), "'Ear' is no name"),
        ((replace(EAR, name="caller"), BRAIN), (), "'caller' is no name"),
        ((replace(EAR, command=()), BRAIN), (), "the command of ear is ()"),
        ((replace(EAR, command="ear --brain"), BRAIN), (), "give a tuple of words"),
        ((EAR, replace(BRAIN, ports={**BRAIN.ports, "Tell": Port("udp", 2)})), (), "'Tell' is no name for a port"),
        ((EAR, BRAIN), (replace(LINK, source="x", target="y"),), "joins no service of this stack"),
        ((EAR, BRAIN), (replace(LINK, port="hear"),), "which brain does not declare; it has listen, tell"),
        ((EAR, BRAIN), (replace(LINK, port="tell"),), "which is UDP"),
        ((EAR, BRAIN), (LINK, LINK), "two links have the same role"),
        ((replace(EAR, command=("ear", "{brian.listen}")), BRAIN), (), "asks for {brian.listen}, which nothing"),
        ((replace(EAR, env={"BRAIN": "{brain.hear}"}), BRAIN), (), "asks for {brain.hear}, which nothing declares"),
        ((replace(EAR, command=("ear", "{brain2.listen}")), BRAIN), (), "asks for {brain2.listen}"),
    ],
)
def test_what_does_not_fit_is_named(services: Any, links: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        stack(*services, links=links)
    assert message in str(caught.value)


def test_a_link_to_an_undeclared_neighbour_is_named() -> None:
    with pytest.raises(SpecError, match=r"add \('brain', 'listen'\) to the neighbours"):
        stack(replace(EAR, command=("ear",)))


def test_a_link_to_a_declared_neighbour_is_accepted() -> None:
    assert stack(EAR, neighbours={("brain", "listen"): Port("tcp", 8083)}).links == (LINK,)


@pytest.mark.parametrize("slots", [{"count": 0}, {"step": 0}, {"first": -1}])
def test_slots_that_are_none_are_refused(slots: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="call slots"):
        Slots(**slots)


def test_slots_say_ids_width_and_the_services_notation() -> None:
    slots = Slots(151, 3, 2)
    assert (list(slots.ids()), slots.width, str(slots)) == ([151, 153, 155], 5, "151:3:2")


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(SpecError, match="no service is called 'mouth'; there are ear, brain"):
        stack().service("mouth")


# --- placeholders


ADDRESSES = Addresses({("brain", "listen"): 5001}, {("brain", "listen"): 6001})


def test_a_service_sees_its_own_address() -> None:
    assert ADDRESSES.fill("brain", "--listen={brain.listen}", Slots()) == "--listen=127.0.0.1:5001"


def test_its_neighbour_sees_the_tap() -> None:
    assert ADDRESSES.fill("ear", "{brain.listen}", Slots()) == "127.0.0.1:6001"


def test_a_name_with_a_digit_is_filled() -> None:
    addresses = Addresses({("llama2", "port_2"): 5001}, {("llama2", "port_2"): 6001})
    assert addresses.fill("llama2", "{llama2.port_2}", Slots()) == "127.0.0.1:5001"


def test_calls_and_python_are_filled() -> None:
    assert ADDRESSES.fill("ear", "{python} {calls}", Slots(7, 2, 3)) == f"{sys.executable} 7:2:3"


def test_other_braces_are_left_alone() -> None:
    assert ADDRESSES.fill("ear", '{"json": {"a": 1}} ${HOME} {x}', Slots()) == '{"json": {"a": 1}} ${HOME} {x}'


# --- only


def test_only_one_service_has_the_harness_for_neighbours() -> None:
    alone = reference_stack().only("kokoro")
    assert [s.name for s in alone.services] == ["kokoro"]
    assert [link.role for link in alone.links] == ["llm_tts", "tts_out"]
    assert {owner for owner, _ in alone.neighbours} == {"caller", "whisper", "llama", "outbound"}


# --- the reference stack


def words(name: str, **options: Any) -> list[str]:
    return list(reference_stack(**options).service(name).command)


def test_the_reference_stack_has_four_services_and_three_links() -> None:
    made = reference_stack()
    assert [s.name for s in made.services] == ["whisper", "llama", "kokoro", "outbound"]
    assert [link.role for link in made.links] == ["stt_llm", "llm_tts", "tts_out"]


@pytest.mark.parametrize("pace", ["asap", "realtime"])
def test_the_pace_goes_to_outbound(pace: Any) -> None:
    command = words("outbound", pace=pace)
    assert command[command.index("--pace") + 1] == pace
    assert reference_stack(pace).pace == pace


def test_the_seed_goes_to_llama() -> None:
    command = words("llama", seed=7)
    assert command[command.index("--seed") + 1] == "7"


def test_a_users_option_comes_last_so_that_it_wins() -> None:
    assert words("llama", seed=7, options={"llama": ["--seed", "8"]})[-2:] == ["--seed", "8"]


def test_scripted_is_told_to_every_service_that_has_an_engine() -> None:
    made = reference_stack(scripted=True)
    assert made.scripted
    assert [s.name for s in made.services if "scripted" in s.command] == ["whisper", "llama", "kokoro"]


def test_options_of_an_unknown_service_are_refused() -> None:
    with pytest.raises(SpecError, match="options are given for 'wisper'; the reference stack has whisper, llama"):
        reference_stack(options={"wisper": ["--beam", "5"]})


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """The base's folder, and this one's; a virtual environment is in this one alone."""
    base, root = tmp_path / "base", tmp_path / "root"
    for file in (base / "serve.py", root / "serve.py", root / "venv" / "python"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return base, root


def test_a_checkout_runs_its_own_files_with_this_ones_interpreter(checkouts: tuple[Path, Path]) -> None:
    base, root = checkouts
    ear = Service("ear", (str(root / "venv/python"), str(root / "serve.py"), "--brain", "{brain.listen}"), {}, cwd=root)
    found = stack(ear, BRAIN).of_checkout(base, root).service("ear")
    assert found.command == (str(root / "venv/python"), str(base / "serve.py"), "--brain", "{brain.listen}")
    assert found.cwd == base


def test_a_checkouts_modules_come_first(checkouts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    base, root = checkouts
    monkeypatch.setenv("PYTHONPATH", f"{root}:/elsewhere")
    found = stack().of_checkout(base, root).service("ear")
    assert found.env["PYTHONPATH"].split(":") == [str(base / "services"), str(base), "/elsewhere"]
    assert found.cwd == base


def test_a_checkout_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="git worktree add"):
        stack().of_checkout(tmp_path / "nowhere", tmp_path)
