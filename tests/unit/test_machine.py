"""What is foreign, what disturbs, and what is said of it: from two samples, and from one taken here."""

import os
import time
from dataclasses import replace

import pytest

from pytest_voiceloop.call import machine
from pytest_voiceloop.call.machine import Load, Sample, Used, disturbances, load
from pytest_voiceloop.report.reliability import reliability, sentences

# Four seconds on two processors: eight seconds of their time.
BEFORE = Sample(1_000_000_000, 2, 1000.0, 600.0, 1.0, 100.0, {"whisper": Used(10.0, 1.0, 300.0)})
AFTER = Sample(5_000_000_000, 2, 1008.0, 605.0, 1.08, 102.0, {"whisper": Used(11.5, 1.25, 320.0)})


def test_what_is_busy_and_not_our_own_is_foreign():
    found = load(BEFORE, AFTER)
    # 8 s less 5 idle, 0.08 stolen, 2 our own.
    assert (found.steal_percent, found.foreign_cpu_percent) == (1.0, 11.5)
    assert found.services == {"whisper": Used(1.5, 0.25, 320.0)}


def test_more_of_our_own_than_was_busy_is_no_negative_load():
    assert load(BEFORE, replace(AFTER, own_s=104.0)).foreign_cpu_percent == 0


def test_counters_that_a_sandbox_fakes_say_nothing():
    still = {"counted_s": 0.0, "idle_s": 0.0, "steal_s": 0.0}
    found = load(replace(BEFORE, **still), replace(AFTER, **still))
    assert (found.steal_percent, found.foreign_cpu_percent) == (None, None)
    assert found.services["whisper"].cpu_s == 1.5
    assert disturbances(found) == []


@pytest.mark.parametrize("pair", [(None, AFTER), (BEFORE, None), (None, None)])
def test_a_machine_that_tells_nothing_disturbs_nothing(pair):
    assert load(*pair) == Load(None, None, {})
    assert disturbances(load(*pair)) == []


def test_a_service_that_was_started_anew_begins_with_nothing():
    again = replace(AFTER, services={"whisper": Used(0.5, 0.1, 200.0)})
    assert load(BEFORE, again).services == {"whisper": Used(0.5, 0.1, 200.0)}


def test_processors_taken_away_meanwhile_leave_no_percentages():
    assert load(BEFORE, replace(AFTER, cpus=1)).foreign_cpu_percent is None


WAITING = {"whisper": Used(1.0, 0.3, 300.0)}


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (Load(2.0, 10.0, WAITING), []),
        (Load(2.1, 0.0, WAITING), ["the hypervisor took 2.1 % of the processors' time (limit 2 %)"]),
        (
            Load(0.0, 35.2, WAITING),
            [
                (
                    "other programs took 35 % of the processors' time (limit 10 %), "
                    "and the services waited 300 ms for a processor"
                )
            ],
        ),
        (Load(0.0, 35.2, {"whisper": Used(1.0, 0.02, 300.0)}), []),
        (
            Load(0.0, 35.2, {"whisper": Used(1.0, None, 300.0)}),
            ["other programs took 35 % of the processors' time (limit 10 %)"],
        ),
    ],
    ids=["at the limits", "steal", "foreign and waited", "foreign and nobody waited", "waiting is not told"],
)
def test_a_turn_is_disturbed_over_a_limit_and_foreign_load_only_if_services_waited(found, reasons):
    assert disturbances(found) == reasons


def test_a_sample_taken_here_knows_our_own_work():
    pid = os.getpid()
    before = machine.sample({"me": pid}, os.getppid())
    if before is None:
        pytest.skip("this kernel does not tell what is asked of it")
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    found = load(before, machine.sample({"me": pid}, os.getppid()))
    assert found.services["me"].cpu_s >= 0.15
    assert found.services["me"].rss_mib > 5
    assert 0 <= found.foreign_cpu_percent <= 100


def test_calibration_is_a_time():
    assert 1 < machine.calibrate() < 10_000


def turn(status="ok", repeat=0, warmup=False, **figures):
    late = {"p50": 0.1, "p99": figures.pop("p99", 0.3), "max": figures.pop("late", 0.5)}
    known = {"pacer_late_ms": late, "steal_percent": 0.0, "foreign_cpu_percent": 2.0, "services": {}} | figures
    return {"status": status, "repeat": repeat, "warmup": warmup, "machine": known}


def test_reliability_is_that_of_all_turns_but_warm_up():
    found = reliability(
        [
            turn(warmup=True, foreign_cpu_percent=99.0),
            turn("void", p99=8.0, late=30.0, foreign_cpu_percent=40.0),
            turn(repeat=1),
            turn(),
        ],
        {"before_ms": 25.0, "after_ms": 26.0},
    )
    assert found == {
        "turns": 3,
        "void": 1,
        "repeated": 1,
        "pacer_late_ms": {"p50": 0.1, "p99": 0.3, "max": 30.0},
        "steal_percent": {"p50": 0.0, "max": 0.0},
        "foreign_cpu_percent": {"p50": 2.0, "max": 40.0},
        "calibration": {"before_ms": 25.0, "after_ms": 26.0, "change_percent": 4.0},
    }
    said = sentences({"reliability": found})
    assert said == [
        "machine: pacer p99 0.3 ms, steal 0.0 %, foreign load 2 %, calibration 25 → 26 ms",
        "void: 1 of 3 turns; 1 said again",
    ]
    assert max(map(len, said)) <= 80


def test_a_machine_that_became_slower_is_said_to_have():
    (_, said) = sentences({"reliability": reliability([turn()], {"before_ms": 25.0, "after_ms": 30.0})})
    assert said.startswith("the machine became slower during the run: the calibration took +20 %.")


@pytest.mark.parametrize("turns", [[], [turn(warmup=True)]])
def test_nothing_measured_says_nothing(turns):
    assert sentences({"reliability": reliability(turns, {"before_ms": 25.0})}) == []


def test_records_without_machine_figures_and_documents_without_reliability_are_read():
    old = {"status": "ok", "warmup": False}
    found = reliability([old], {})
    assert found["pacer_late_ms"] == {"p50": None, "p99": None, "max": None}
    assert sentences({"reliability": found}) == sentences({}) == []
