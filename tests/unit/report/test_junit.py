"""A test's figures as properties of its case in JUnit's XML."""

from report_documents import HOSTILE, budget, one_test, turn

from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report.junit import NAMES, properties, with_properties


def flat(*turns, **more):
    return dict(properties(one_test(*turns, **more)))


def test_a_test_with_a_budget_has_every_figure():
    found = flat(turn(warmup=True, slower_ms=9000), turn(), turn(), budgets=[budget(), budget(verdict="within")])
    assert found == {
        "voiceloop_turns": 2,
        "voiceloop_turns_ok": 2,
        "voiceloop_total_ms_p50": 1690.001,
        "voiceloop_voice_to_voice_ms_p50": 960.0,
        "voiceloop_transcript_wer": 0.125,
        "voiceloop_loop_wer": 0.0,
        "voiceloop_cut_off_rate": 0.0,
        "voiceloop_verdict": "over",
    }
    assert [name for name in NAMES if name in found] == list(found)


def test_the_worst_verdict_of_several_budgets_counts():
    verdicts = [budget(verdict=verdict) for verdict in ("within", "inconclusive")]
    assert flat(turn(), budgets=verdicts)["voiceloop_verdict"] == "inconclusive"
    assert "voiceloop_verdict" not in flat(turn())


def test_a_test_that_measured_nothing_has_none():
    assert flat() == flat(turn(warmup=True)) == {}


def test_a_figure_without_a_value_is_left_out():
    found = flat(turn(missing=("t4_first", "t4_last", "t5"), heard=Words("")))
    assert found == {"voiceloop_turns": 1, "voiceloop_turns_ok": 0}


def test_turns_of_several_workers_have_figures_and_are_counted():
    found = flat(turn(flags=("contended",)), turn(flags=("contended", "cut_off")))
    assert found["voiceloop_turns_contended"] == 2
    assert (found["voiceloop_total_ms_p50"], found["voiceloop_cut_off_rate"]) == (1690.001, 0.5)


def test_the_corpora_of_a_test_are_taken_together():
    other = turn(transcript=Words("", 1, 4, 3, 20))
    other["utterance"]["corpus"] = "other"
    assert flat(turn(), other)["voiceloop_transcript_wer"] == round(2 / 12, 4)


def test_paces_are_never_pooled():
    found = flat(turn(), turn(pace="realtime"))
    assert found == {"voiceloop_turns": 2, "voiceloop_turns_ok": 2}


def test_values_are_numbers_and_verdicts_whatever_the_words_are():
    found = flat(turn(HOSTILE, said=HOSTILE, call_id=HOSTILE, flags=(HOSTILE,)), nodeid=HOSTILE)
    assert all(isinstance(value, (int, float)) for value in found.values())


def test_properties_of_others_stay_and_those_of_an_earlier_try_go():
    before = [("mine", "x"), ("voiceloop_verdict", "over"), ("voiceloop_loop_wer", 1.0)]
    found = with_properties(before, one_test(turn(missing=("t5",), heard=Words(""))))
    assert found[0] == ("mine", "x")
    assert not {"voiceloop_verdict", "voiceloop_loop_wer"} & {name for name, _ in found}
