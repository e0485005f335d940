import re

import pytest
from report_documents import SCRIPTED, budget, document, hostile_turn, one_test, turn

from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.report.terminal import MOST_IN_FULL, summary_lines, turn_line
from pytest_voiceloop.text import cells

SILENT = ("t3_first", "t3_last", "t4_first", "t4_last", "t5")


def shown(*tests, **more):
    return "\n".join(summary_lines(document(*tests, **more)))


def many(n, **changes):
    return [turn(f"u{number:02}", slower_ms=number, **changes) for number in range(n)]


def test_a_turn_is_one_line_with_what_matters():
    line = turn_line(turn())
    assert line == "ok      asap      total  1690 ms  v2v  960 ms  WER 0.12/0.00  canoe"


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize(
    "one",
    [
        turn("x" * 300, flags=("split", "cut_off")),
        turn("x" * 300, pace="realtime", slower_ms=100_000),
        turn("字" * 80, missing=SILENT),
        turn(warmup=True, status="failed", missing=("t1",)),
        hostile_turn(),
    ],
    ids=["long", "slow", "wide", "failed", "hostile"],
)
def test_a_turns_line_never_exceeds_80_columns(one, scripted):
    line = turn_line(one, 80, scripted=scripted, base=True, place=(9, 1000))
    assert cells(line) <= 80
    assert line.isprintable()
    assert line.startswith("SCRIPTED (no model)") == scripted


def test_a_turns_line_says_its_place_and_whose_it_is():
    assert turn_line(turn(), place=(7, 30)).startswith(" 7/30 ok      asap      total  1690 ms  v2v  960 ms  WER ")
    assert turn_line(turn(), place=(7, 30), base=True).endswith(" canoe [base]")


def test_a_turns_flags_are_never_cut_off_by_its_columns():
    line = turn_line(turn("stockings-heart", flags=("split", "cut_off")), place=(7, 30))
    assert line == "7/30 ok asap total 1690 ms v2v 960 ms WER 0.12/0.00 stockings... [split cut_off]"


def test_a_turns_line_says_what_never_came():
    assert "T3_FIRST never came" in turn_line(turn(missing=SILENT))


def test_a_turns_line_says_warm_up():
    assert turn_line(turn(warmup=True)).startswith("warmup")


def test_a_turn_is_shown_with_words_stages_and_targets():
    text = shown(one_test(turn(flags=("split",))))
    assert "=== Pipeline Timing Summary ===" in text
    assert '  Said:        "The birch canoe slid on the smooth planks."' in text
    assert '  Reply:       "A canoe slides well on planks."' in text
    assert re.search(r"stt \(T1-T0\) +480 ms +target +500 ms  ok", text)
    assert re.search(r"tts \(T3-T2\) +450 ms +target +150 ms  above", text)
    assert re.search(r"total \(T5-T0\) +1690 ms +target +2000 ms  ok", text)
    assert re.search(r"voice to voice +960 ms  42 ms of it leading silence", text)
    assert "WER 0.12 (synthetic speech)" in text
    assert "flags: split" in text


def test_a_time_out_names_event_and_link():
    text = shown(one_test(turn(missing=SILENT), outcome="failed"))
    assert "TIMEOUT" in text
    assert "T3_FIRST never came: the link tts -> outbound (the reply's first audio)" in text
    assert text.splitlines()[-1] == "voiceloop: 1 test failed, 0 of 1 turn completed, 1 timeout"


def test_a_reply_that_never_stopped_says_so():
    assert "The reply did not end in time" in shown(one_test(turn(status="timeout")))


def test_at_realtime_there_is_no_target_on_transfer_and_total():
    text = shown(one_test(turn(pace="realtime")))
    assert re.search(r"total \(T5-T0\) +1690 ms$", text, re.MULTILINE)
    assert re.search(r"transfer \(T4-T3\) +40 ms$", text, re.MULTILINE)
    assert re.search(r"stt \(T1-T0\) +480 ms +target +500", text)
    assert "no target on transfer and total: at realtime they contain the reply's duration" in text


def test_merged_stages_have_the_sum_of_their_targets():
    text = shown(one_test(turn(expected=[event for event in EVENTS if not event.startswith("t2")])))
    assert re.search(r"llm\+tts \(T3-T1\) +670 ms +target +350 ms  above", text)


def test_a_service_that_worked_ahead_is_shown_as_such():
    text = shown(one_test(turn(us={"t2_first": 300_000, "t2_last": 420_000})))
    assert re.search(r"llm \(T2-T1\) +-60 ms .* worked ahead", text)


def test_a_total_that_cannot_be_seen_says_why():
    text = shown(one_test(turn(expected=[event for event in EVENTS if event != "t5"])))
    assert re.search(r"total \(T5-T0\) +- .* cannot be seen", text)


def test_missed_budgets_stand_before_the_turns_and_the_worst_first():
    unsure = budget(metric="loop_wer", limit=0.1, limit_ms=None, unit="ratio", observed=0.05, observed_ms=None)
    unsure |= {"low": 0.01, "high": 0.2, "verdict": "inconclusive"}
    text = shown(one_test(turn(), budgets=[unsure, budget(), budget(metric="stt", verdict="within")]))
    over = text.index("OVER  total 1690 ms, limit 1500 ms, n=1")
    assert over < text.index("INCONCLUSIVE  loop_wer 0.05 [0.01, 0.20], limit 0.10") < text.index("Said:")
    assert 'set by latency(total="1.5s") on test_it (one turn, judged by its value)' in text
    assert "WITHIN" not in text


def test_medians_show_n_interval_and_maximum():
    text = shown(one_test(*many(10)))
    assert re.search(r"^  stt +10 +484  \[481, 488\] +- +489 +500 ok$", text, re.MULTILINE)
    assert "Medians: default (synthetic speech), asap" in text


def test_medians_say_never_where_a_turn_did_not_end():
    text = shown(one_test(turn(), turn(missing=SILENT), turn(missing=SILENT)))
    assert re.search(r"^  total +3 +never +- +never +2000 -$", text, re.MULTILINE)


def test_many_turns_are_shortened_but_for_failures_and_the_slowest():
    turns = [*many(MOST_IN_FULL + 8), turn("lost", missing=SILENT)]
    text = shown(one_test(*turns))
    assert f"{MOST_IN_FULL + 5} shortened (0 of them warm-up); run.json and the html report have all of each." in text
    in_full = re.findall(r"^--- (\S+), asap, call", text, re.MULTILINE)
    assert in_full == [*(f"u{MOST_IN_FULL + n}" for n in (5, 6, 7)), "lost"]


def test_many_failures_are_shortened_too():
    assert shown(one_test(*many(300, missing=SILENT))).count("TIMEOUT") <= MOST_IN_FULL + 3


def test_a_scripted_stack_is_labelled_everywhere():
    lines = summary_lines(document(one_test(*many(20)), services=[SCRIPTED]))
    headings = [line for line in lines if line.startswith(("===", "---", "ok ", "voiceloop:", "SCRIPTED"))]
    assert len(headings) >= 22
    assert all("SCRIPTED (no model)" in line for line in headings)
    assert "SCRIPTED" not in shown(one_test(turn()))


@pytest.mark.parametrize(
    "made",
    [
        document(services=()),
        document(one_test(outcome="skipped"), one_test(outcome="skipped")),
        document(one_test(turn(warmup=True))),
    ],
    ids=["no test", "skipped", "only warm-up"],
)
def test_the_last_line_says_if_nothing_was_measured(made):
    assert "nothing was measured" in summary_lines(made)[-1]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("services", [(), (SCRIPTED,)], ids=["real", "scripted"])
def test_no_line_is_wider_than_asked(width, services):
    hostile = one_test(hostile_turn(), turn(missing=SILENT), nodeid="x" * 400, budgets=[budget(source="字" * 300)])
    full = summary_lines(document(hostile, services=services), width)
    short = summary_lines(document(one_test(*many(20), hostile_turn()), services=services), width)
    assert max(map(cells, full + short)) <= width
    assert all(line.isprintable() for line in full + short)


def test_colour_only_if_asked_and_it_changes_no_words():
    made = document(one_test(turn(), turn(missing=SILENT), budgets=[budget()]))
    coloured = "\n".join(summary_lines(made, color=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == "\n".join(summary_lines(made))


def test_escapes_in_a_transcript_stay_harmless_in_colour_too():
    coloured = "\n".join(summary_lines(document(one_test(hostile_turn())), color=True))
    assert "\x1b[31mred" not in coloured
    assert "\\x1b[31mred" in coloured
