"""The arithmetic of the self-test: what is true, how far off a turn is, and what a machine cannot do."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_voiceloop.call import selftest
from pytest_voiceloop.call.judge import Judgement
from pytest_voiceloop.call.line import Capture
from pytest_voiceloop.call.pacing import Pacing
from pytest_voiceloop.call.selftest import SelfTest, Spread, shortcomings, spread, table, truth
from pytest_voiceloop.measure.playout import Arrival
from pytest_voiceloop.measure.timeline import Crossing
from pytest_voiceloop.stack.process import StackError

FINE = Spread(0.1, 0.5, 3.0, 110)
SLOW = Spread(0.1, 2.5, 3.0, 110)


def capture(speech_end=8000, kinds=("text", "end"), packets=2):
    crossings = [Crossing(1000 + n, "stt_llm", "151", kind) for n, kind in enumerate(kinds)]
    arrivals = tuple(Arrival(5000 + n, n, 160 * n, n == 0, b"\xff" * 160) for n in range(packets))
    clip = SimpleNamespace(speech_end=speech_end, samples=np.zeros(9000, np.float32))
    of_no_matter = dict.fromkeys(field.name for field in dataclasses.fields(Capture))
    known = {
        "call_id": "151",
        "clip": clip,
        "pacing": Pacing(0, []),
        "crossings": tuple(crossings),
        "arrivals": arrivals,
        "reply_arrivals": arrivals[1:],
        "judgement": Judgement("said", 8500, 9000),
    }
    return Capture(**of_no_matter | known)


def stamps(received=range(0, 600_000_000, 20_000_000), sent=(900, 901), packets=(4000, 4001), judged=(7000, 8000)):
    return {
        "whisper": {("151", "received"): list(received), ("151", "sent"): list(sent), ("153", "sent"): list(judged)},
        "llama": {},
        "kokoro": {},
        "outbound": {("151", "sent"): list(packets)},
    }


def test_the_truth_is_what_the_services_stamped():
    true = truth(capture(), stamps())
    assert [crossing.at_ns for crossing in true.crossings] == [900, 901]
    assert [arrival.arrival_ns for arrival in true.arrivals] == [4000, 4001]
    assert [arrival.arrival_ns for arrival in true.reply_arrivals] == [4001]
    assert true.judgement == Judgement("said", 8500, 8000)


@pytest.mark.parametrize(
    ("speech_end", "t0_ns"), [(320, 7), (319, 7 - 62_500), (321, 20_000_007 - 319 * 62_500), (640, 20_000_007)]
)
def test_t0_is_when_whisper_had_the_last_voiced_sample(speech_end, t0_ns):
    assert truth(capture(speech_end), stamps(received=[7, 20_000_007])).t0_ns == t0_ns


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"received": []}, "whisper stamped 0 frames"),
        ({"sent": [900]}, "whisper sent a frame"),
        ({"packets": [4000]}, "outbound sent"),
        ({"judged": []}, "whisper sent"),
    ],
)
def test_a_stamp_that_is_missing_is_an_error(missing, says):
    with pytest.raises(StackError, match=says):
        truth(capture(), stamps(**missing))


def test_a_spread_is_median_99th_percentile_maximum_and_number():
    assert spread(range(101)) == Spread(50, 99, 100, 101)


def test_one_hiccup_in_as_many_turns_as_are_needed_does_not_decide():
    off = spread([0.3] * (selftest.LEAST_TURNS - 1) + [5.0])
    assert off.max == 5.0
    assert not list(shortcomings({"t1": off}, {"text": FINE}, turns=selftest.LEAST_TURNS, void_because=[]))


def test_a_machine_whose_figures_are_fine_can_measure():
    assert not list(shortcomings({"t1": FINE}, {"text": FINE}, turns=110, void_because=[]))


@pytest.mark.parametrize(
    ("errors", "taps", "void", "says"),
    [
        ({"t1": FINE, "llm": SLOW}, {"text": FINE}, 0, "cannot measure llm to 2 ms: the harness is up to 2.5 ms off"),
        ({"t1": FINE}, {"audio": SLOW}, 0, "a tap adds up to 2.5 ms to a frame (audio"),
        ({"t1": FINE}, {"text": FINE}, 11, "99 of 110 turns count, 100 have to: late."),
    ],
)
def test_what_a_machine_cannot_measure_is_said(errors, taps, void, says):
    (sentence,) = shortcomings(errors, taps, turns=110, void_because=["late"] * void)
    assert says in sentence


def result(**changes):
    fields = {
        "error_ms": {"t1": FINE, "first_audio_transfer": SLOW},
        "pacer_lateness_ms": FINE,
        "tap_cost_ms": {"text": FINE, "audio": FINE},
        "cannot": (),
        "turns": 110,
        "void": 0,
        "cpu_busy_percent": 7.0,
        "busy": True,
        "passed_on_ms": {"stt_llm": FINE},
        "onset_error_ms": {"20 dB above noise, µ-law": {"p50": 1.0, "p95": 12.0, "max": 17.0, "n": 60}},
        "took_s": 33.0,
    }
    return SelfTest(**fields | changes)


def test_the_json_begins_with_what_was_promised():
    told = json.loads(json.dumps(result(cannot=("It cannot.",)).as_json()))
    assert list(told)[:5] == ["ok", "error_ms", "pacer_lateness_ms", "tap_cost_ms", "cannot"]
    assert told["ok"] is False
    assert told["error_ms"]["t1"] == {"p50": 0.1, "p99": 0.5, "max": 3.0, "n": 110}
    assert told["cannot"] == ["It cannot."]


def test_the_table_fits_a_terminal_and_ends_with_the_verdict():
    lines = list(table(result()))
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "This machine can measure to 2 ms."
    told = list(table(result(cannot=("It cannot " * 20,))))
    assert max(map(len, told)) <= 80
    assert told[-1].startswith("It cannot")


def test_the_clips_end_at_different_places_of_a_frame():
    ends = {selftest._clip(number).speech_end % 320 for number in range(selftest.TURNS)}
    assert len(ends) >= 20
