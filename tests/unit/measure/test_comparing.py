import json

import numpy as np
import pytest

from pytest_voiceloop.measure.comparing import BASELINE, INTERLEAVED, Rule, compare, parse_rule

N = 20
SOUND = {"clipped_ms": 0.0, "gap_ms": 10.0, "bandwidth_hz": 3500.0, "chars_per_s": 15.0, "level_db": -20.0}
WORK = {"stt": 350.0, "llm_first": 160.0, "llm": 300.0, "tts": 800.0}


def record(
    number, *, jitter=0.0, words=20, errors=0, heard_errors=0, lost=0, made=None, heard=None, hears="heard", **changes
):
    """A turn; `changes` are ms added to a service's work, with which everything after it shifts."""
    more = {name: changes.pop(name, 0.0) for name in ("stt", "llm", "tts", "transfer")}
    work = {
        "stt": WORK["stt"] + more["stt"] + jitter,
        "llm_first": WORK["llm_first"] + more["llm"],
        "llm": WORK["llm"] + more["llm"],
        "tts": WORK["tts"] + more["tts"],
    }
    t1 = 750.0 + more["stt"] + jitter
    t3_first = 900.0 + sum(more[name] for name in ("stt", "llm", "tts")) + jitter
    t3_last = sum(work[name] for name in ("stt", "llm", "tts"))
    t4_first, t4_last = t3_first + 38 + more["transfer"], t3_last + 15 + more["transfer"]
    sounds = {"made": SOUND | (made or {}), "heard": SOUND | (made or {}) | (heard or {})}
    return {
        "warmup": False,
        "status": "ok",
        "flags": [],
        "pace": "asap",
        "judge": "stt",
        "index": 0,
        "utterance": {"id": f"u{number}", "text": "said", "corpus": "tiny", "audio_s": 2.0},
        "transcript": {"text": f"said {number}", "errors": errors, "words": 10},
        "reply": {"text": f"reply {number} {words}", "words": words, "audio_s": words / 3},
        "heard": {"text": hears, "errors": heard_errors, "words": words},
        "events_ms": {"t1": t1, "t3_first": t3_first, "t3_last": t3_last, "t4_first": t4_first},
        "ledgers": {
            "complete": {
                "total_ms": t4_last + 260,
                "stages_ms": {
                    "stt": t1,
                    "llm": 0.0,
                    "tts": 0.0,
                    "transfer": 15 + more["transfer"],
                    "retranscription": 260.0,
                },
            },
            "first_audio": {
                "total_ms": t4_first,
                "stages_ms": {"stt": t1, "llm": -90.0, "tts": 200 + more["tts"], "transfer": 38 + more["transfer"]},
            },
        },
        "work_ms": work,
        "leading_silence_ms": 35.0,
        "tts_rtf": (work["llm"] - work["llm_first"] + work["tts"]) / (words / 3 * 1000),
        "playout": {"lost": lost},
        "counters": {"rtp_packets": 100 - lost},
        "sound": sounds,
    } | changes


def series(n=N, seed=0, **changes):
    noise = np.random.default_rng(seed).normal(0, 5, n)
    return [record(number, jitter=float(noise[number]), **changes) for number in range(n)]


def rows(found):
    return {row.metric: row for row in found.rows}


def against_plain(rule=INTERLEAVED, **changes):
    return compare(series(), series(seed=1, **changes), rule)


def test_a_rule_is_read_in_any_order_and_half():
    assert parse_rule("10%,25ms") == parse_rule(" 25 ms , 10 % ") == Rule(25.0, 10.0)
    assert parse_rule("5%") == Rule(0.0, 5.0)
    assert parse_rule("0.1s") == Rule(100.0, 0.0)


@pytest.mark.parametrize("text", ["", "10", "10%,5%", "25ms,1s", "10%,25ms,", "much"])
def test_what_is_no_rule_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match=r'write a percentage, a duration or both, such as "10%,25ms"'):
        parse_rule(text)


def test_the_same_twice_is_the_same():
    found = compare(series(), series(), BASELINE)
    assert (found.verdict, found.doors, found.notes) == ("same", (), ())
    assert {row.verdict for row in found.rows} == {"same"}


@pytest.mark.parametrize("door", ["stt", "llm", "tts", "transfer"])
def test_a_slower_service_is_named_and_no_other(door):
    found = against_plain(BASELINE, **{door: 120.0})
    assert (found.verdict, found.doors) == ("regressed", (door,))
    assert rows(found)["voice_to_voice"].door == ""


def test_a_quicker_service_is_better():
    assert against_plain(llm=-80.0).verdict == "better"


def test_a_change_has_to_exceed_both_the_floor_and_the_percentage():
    assert against_plain(Rule(100.0, 5.0), llm=80.0).verdict == "same"
    assert against_plain(Rule(10.0, 60.0), llm=80.0).verdict == "same"
    assert against_plain(Rule(10.0, 5.0), llm=80.0).verdict == "regressed"


def test_a_quicker_llm_does_not_make_the_tts_slow():
    """The same speech from an earlier start: what is left of it after the reply's last word is more."""
    base = series(llm=200.0, tts_rtf=0.2)
    found = compare(base, series(seed=1, tts=150.0, tts_rtf=0.2), INTERLEAVED)
    assert rows(found)["work_ms.tts"].verdict == "same"
    assert (found.verdict, found.doors) == ("better", ())


def test_eight_pairs_that_agree_are_enough():
    assert compare(series(8), series(8, llm=400.0), BASELINE).doors == ("llm",)


def test_too_few_utterances_tell_nothing():
    found = compare(series(5), series(5, llm=500.0), BASELINE)
    assert found.verdict == "inconclusive"
    assert "5 of the 8 pairs" in rows(found)["total"].note


def test_trials_of_few_utterances_are_paired():
    found = compare(series(3) * 4, series(3, llm=80.0) * 4, BASELINE)
    assert (found.verdict, rows(found)["work_ms.llm"].n) == ("regressed", 12)


@pytest.mark.parametrize(
    "odd", [{"status": "void"}, {"warmup": True}, {"flags": ["contended"]}], ids=["void", "warm-up", "contended"]
)
def test_turns_that_do_not_count_do_not_count(odd):
    head = series(seed=1) + series(llm=5000.0, **odd)
    assert compare(series(), head, INTERLEAVED).verdict == "same"


def test_a_turn_that_was_not_answered_counts_as_that_alone():
    head = [one | {"status": "timeout"} if n < 12 else one for n, one in enumerate(series(seed=1))]
    found = rows(compare(series(), head, INTERLEAVED))
    assert found["timed_out_rate"].verdict == "regressed"
    assert found["timed_out_rate"].head == 0.6
    assert found["total"].n == 8


def silent(turns, status="timeout"):
    return [one | {"status": status} for one in turns]


@pytest.mark.parametrize("n", [1, 3, 7, 14])
@pytest.mark.parametrize("status", ["timeout", "failed"])
def test_a_stack_that_answers_nothing_any_more_has_regressed_however_few_turns_there_are(n, status):
    found = compare(series(n), silent(series(n), status), BASELINE)
    assert found.verdict == "regressed"
    assert "every turn was answered before, none after" in rows(found)["timed_out_rate"].note


def test_a_time_out_of_a_corpus_of_one_clip_is_no_regression_of_the_run():
    other = series(1, utterance={"id": "one", "text": "said", "corpus": "other", "audio_s": 2.0})
    assert compare(series() + other, series() + silent(other), BASELINE).verdict == "inconclusive"


def test_where_nothing_was_answered_on_either_side_nothing_is_the_same():
    found = compare(silent(series(14)), silent(series(14)), BASELINE)
    assert found.verdict == "inconclusive"
    assert "answered were 0 of 14 turns before, 0 of 14 after" in found.notes[0]


def test_a_corpus_of_which_all_turns_are_void_is_not_the_same():
    other = {"utterance": {"id": "one", "text": "said", "corpus": "other", "audio_s": 2.0}}
    found = compare(series() + series(**other), series() + series(status="void", **other), BASELINE)
    assert found.verdict == "inconclusive"
    assert "no utterance of other at pace asap was answered on both sides" in found.notes[0]


@pytest.mark.parametrize("lost", [1, 3])
def test_a_few_time_outs_are_neither_the_same_nor_a_regression(lost):
    head = series(30)
    found = compare(series(30), silent(head[:lost]) + head[lost:], BASELINE)
    assert found.verdict == "inconclusive"


def test_a_time_out_that_the_base_had_too_is_the_same():
    one = silent(series(1)) + series(30)[1:]
    assert compare(one, one, BASELINE).verdict == "same"


def test_a_headline_that_is_missing_after_is_not_the_same():
    head = series()
    for one in head:
        one["ledgers"]["complete"] |= {"total_ms": None}
    found = compare(series(), head, BASELINE)
    assert found.verdict == "inconclusive"
    assert found.notes == ("total was measured before and is missing after, so its change cannot be told",)


def test_a_headline_that_only_the_head_has_keeps_nothing_open():
    base = series()
    for one in base:
        one["ledgers"]["complete"] |= {"total_ms": None}
    found = compare(base, series(), BASELINE)
    assert (found.verdict, found.notes) == ("same", ("total was measured on one side only",))


def test_utterances_of_one_side_only_are_counted():
    found = compare(series(30), series(30)[:10], BASELINE)
    assert found.verdict == "same"
    assert found.notes == (
        "20 of 30 utterances of tiny at pace asap were measured on one side only, and are not compared",
    )


def test_one_disturbed_turn_changes_no_verdict():
    head = series(seed=1)
    head[3] = record(3, llm=5000.0)
    assert compare(series(), head, INTERLEAVED).verdict == "same"


def test_words_are_gated():
    found = against_plain(errors=2)
    assert found.doors == ("stt",)
    assert rows(found)["transcript_wer"].change == pytest.approx(0.2)


def test_lost_words_of_the_loop_are_the_judges_where_it_hears_the_caller_worse_too():
    found = rows(against_plain(errors=2, heard_errors=4))
    assert (found["loop_wer"].verdict, found["loop_wer"].door) == ("regressed", "")


@pytest.mark.parametrize(
    ("changes", "doors"),
    [
        ({}, ()),
        ({"lost": 5}, ("transfer",)),
        ({"made": {"chars_per_s": 17.0}}, ("tts",)),
        ({"heard": {"bandwidth_hz": 1500.0}}, ("transfer",)),
        ({"heard": {"gap_ms": 90.0}}, ("transfer",)),
        ({"made": {"clipped_ms": 90.0}}, ("tts",)),
    ],
    ids=["undecided", "packets", "speed", "low-pass", "gaps", "clipping"],
)
def test_lost_words_of_the_loop_lie_where_the_sound_changed(changes, doors):
    found = against_plain(heard_errors=4, **changes)
    assert (found.verdict, found.doors) == ("regressed", doors)
    assert rows(found)["loop_wer"].door == (doors[0] if doors else "")


def test_a_sound_is_laid_where_most_of_its_change_is_even_if_it_is_not_certain_there():
    # Faster by 2 characters a second on average, up and down too much to be sure; what is heard is faster each time.
    head = [
        record(number, made={"chars_per_s": 15.0 + (5.5, -1.5)[number % 2]}, heard={"chars_per_s": 18.0})
        for number in range(N)
    ]
    found = compare(series(), head, INTERLEAVED)
    assert rows(found)["sound.made.chars_per_s"].verdict != "regressed"
    assert found.doors == ("tts",)


def test_words_that_nobody_said_are_the_judges():
    found = against_plain(heard_errors=4, hears="heard heard heard heard heard")
    assert (found.verdict, found.doors) == ("regressed", ("stt",))


def test_words_that_nobody_heard_are_not_the_judges():
    found = compare(series(hears="heard and heard again"), series(heard_errors=4), INTERLEAVED)
    assert (found.verdict, found.doors) == ("regressed", ())


def test_longer_replies_explain_a_longer_total():
    def of(length, seed):
        noise = np.random.default_rng(seed).normal(0, 5, N)
        return [
            record(n, jitter=float(noise[n]), words=length(n), llm=10.0 * length(n), tts=30.0 * length(n))
            for n in range(N)
        ]

    found = compare(of(lambda n: 15 + n, 0), of(lambda n: 25 + n, 1), INTERLEAVED)
    total = rows(found)["total"]
    assert total.verdict == "same"
    assert "which their length explains" in total.note
    assert "llm" not in {row.door for row in found.rows if row.metric == "work_ms.llm"}
    assert "tts" not in found.doors


def test_another_transcript_is_no_fault_of_the_llm():
    head = [one | {"transcript": {"text": "other", "errors": 5, "words": 10}} for one in series(seed=1, llm=80.0)]
    found = compare(series(), head, INTERLEAVED)
    assert found.doors == ("stt",)
    assert "its input is another one" in rows(found)["work_ms.llm"].note


def test_speech_that_was_held_back_says_nothing_of_the_tts():
    found = compare(series(tts=-700.0), series(seed=1, tts=-700.0, stt=400.0), INTERLEAVED)
    assert "work_ms.tts" not in rows(found)
    assert found.doors == ("stt",)


def test_at_realtime_what_lasts_as_long_as_the_reply_is_left_out():
    found = rows(compare(series(pace="realtime"), series(pace="realtime"), BASELINE))
    assert {"total", "transfer"}.isdisjoint(found)
    assert "voice_to_voice" in found


def test_paces_and_corpora_are_not_pooled():
    found = compare(series(), series(pace="realtime"), BASELINE)
    assert found.verdict == "inconclusive"
    assert len(found.notes) == 3


def test_older_records_are_compared_by_what_they_have():
    old = [{key: value for key, value in one.items() if key not in ("work_ms", "sound", "machine")} for one in series()]
    found = compare(old, series(seed=1), INTERLEAVED)
    assert found.verdict == "same"
    assert any("work_ms.llm was measured on one side only" in note for note in found.notes)


def test_a_comparison_is_json():
    found = against_plain(llm=80.0).as_json()
    assert json.loads(json.dumps(found, allow_nan=False))["doors"] == ["llm"]


def test_nothing_against_nothing_is_rarely_an_alarm():
    rng = np.random.default_rng(7)

    def noisy():
        ahead = rng.normal(0, 25, 20) + 200 * (rng.random(20) < 0.05)
        return [record(n, jitter=float(ahead[n]), llm=float(rng.normal(0, 25))) for n in range(20)]

    alarms = sum(compare(noisy(), noisy(), INTERLEAVED).verdict == "regressed" for _ in range(40))
    assert alarms <= 2
