import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from report_documents import HOSTILE, SCRIPTED, budget, document, hostile_turn, one_test, turn

from pytest_voiceloop.measure.sound import Sound
from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report import html, reading
from pytest_voiceloop.report.comparison import with_baseline
from pytest_voiceloop.report.files import write_atomically
from pytest_voiceloop.report.findings import findings
from pytest_voiceloop.report.render import FORMATS, render
from pytest_voiceloop.report.waveform import Audio, files_in

VOID_ELEMENTS = {"meta", "br", "input"}


class Page(HTMLParser):
    """What a browser would see: elements, and text outside of style. Fails where tags do not match."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def page(*tests, **more):
    return Page(render(document(*tests, **more), "html"))


def bars(shown):
    return [attrs["title"] for attrs in shown.all("span") if "bar " in attrs.get("class", "") and "title" in attrs]


def voice(duration_s=2.0, rate_hz=16_000, silence_s=0.25):
    """Noise between two silences."""
    noise = np.random.default_rng(3).normal(0, 0.1, round((duration_s - 2 * silence_s) * rate_hz))
    return Audio(np.pad(noise, round(silence_s * rate_hz)).astype(np.float32), rate_hz)


def read_audio(path):
    return voice(2.0) if "caller" in path else voice(1.5, 8_000)


def heard(*tests, read=read_audio, **more):
    """The page of a run whose audio is there."""
    return html.page(document(*tests, **more), read_audio=read)


def test_formats_are_those_that_render():
    assert FORMATS == ("html", "json", "summary", "text")
    made = document(one_test(turn()))
    assert json.loads(render(made, "json")) == made
    with pytest.raises(ValueError, match="no report format 'pdf'; use one of html, json"):
        render(made, "pdf")


def test_the_verdict_comes_first():
    shown = page(one_test(turn(), outcome="failed", budgets=[budget()]))
    body = shown.text.partition("Budgets that were not kept")
    assert "Failed: 1 test failed, 1 budget missed, 1 of 1 turn completed" in body[0]
    assert "1690 ms 1500 ms 1" in body[2]


def test_nothing_reaches_out_of_the_page():
    source = heard(one_test(turn()))
    shown = Page(source)
    assert not shown.all("link")
    assert "http:" not in source.replace("http-equiv", "")
    assert "https:" not in source
    assert "default-src 'none'" in source
    assert all(attrs["src"].startswith("data:audio/wav;base64,") for attrs in shown.all("audio"))


def test_only_the_pages_own_script_may_run():
    source = render(document(one_test(hostile_turn())), "html")
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in source


def test_audio_is_found_from_a_page_that_lies_elsewhere():
    source = render(document(one_test(turn())), "html", audio_folder="../results")
    assert 'src="../results/audio/151-0%20caller.wav"' in source


def test_hostile_words_are_text(tmp_path):
    test = one_test(
        hostile_turn(),
        nodeid=HOSTILE,
        budgets=[budget(source=HOSTILE, note=HOSTILE, metric=HOSTILE)],
        sections=[{"title": HOSTILE, "text": f"{HOSTILE}\nsecond"}],
        message=HOSTILE,
    )
    service = dict.fromkeys(("name", "engine", "model"), HOSTILE)
    source = render(document(test, services=[service]), "html")
    shown = Page(source)
    assert shown.all("script") == [{}]
    assert not shown.all("img")
    assert not any(name.startswith("on") for _, attrs in shown.elements for name in attrs)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", source)
    assert "</script><img src=x onerror=alert(1)> \\x1b[31mred\\x00 \\u202eright-to-left" in shown.text
    assert "x" * 10_000 in shown.text
    assert shown.all("audio")[0]["src"] == "javascript%3Aalert%281%29%22%3E%3Cscript%3E"
    write_atomically(tmp_path / "report.html", source)


def places(source, of='class="bar'):
    """Left and width of everything drawn, in percent of the axis."""
    found = re.findall(rf"{of}[^>]*left:(-?[\d.]+)%;width:([\d.]+)%", source)
    return [(float(left), float(width)) for left, width in found]


def test_both_ledgers_are_drawn_on_one_axis():
    source = render(document(one_test(turn())), "html")
    shown = Page(source)
    assert bars(shown)[:5] == ["stt 480 ms", "llm 220 ms", "tts 450 ms", "transfer 40 ms", "retranscription 500 ms"]
    assert bars(shown)[5] == "total 1690 ms"
    assert bars(shown)[6:10] == ["stt 480 ms", "llm 80 ms", "tts 340 ms", "transfer 60 ms"]
    assert bars(shown)[10].startswith("leading silence 42 ms")
    placed = places(source, 'class="bar (?!silence" style="left:0;)')
    for (left, width), (following, _) in pairwise(placed[:5]):
        assert left + width == pytest.approx(following, abs=0.01)
    assert placed[5] == pytest.approx((placed[0][0], sum(placed[4]) - placed[0][0]), abs=0.01)
    assert placed[6] == placed[0]


def test_overlap_is_drawn_and_named():
    shown = page(one_test(turn(us={"t2_first": 300_000, "t2_last": 420_000})))
    note = "overlap: it was done before the stage above it had ended"
    assert f"llm -60 ms, {note}" in bars(shown)
    assert f"language model {note}" in shown.text


def test_merged_stages_are_named_as_such():
    seen = [event for event in EVENTS if not event.startswith("t2")]
    shown = page(one_test(turn(expected=seen)))
    assert "llm+tts language model and voice merged: this stack does not show" in shown.text


def test_every_stage_names_its_owner():
    text = page(one_test(turn())).text
    for owner in (
        "stt speech to text",
        "llm language model",
        "tts voice",
        "transfer outbound",
        "retranscription the judge",
    ):
        assert owner in text


def test_a_budget_is_a_tick_where_its_stage_would_have_to_end():
    source = render(document(one_test(turn(), budgets=[budget(metric="tts", limit_ms=300.0)])), "html")
    (tick,) = re.findall(r'class="limit enforced" style="left:([\d.]+)%" title="budget, latency', source)
    stt, llm, *_ = places(source)
    per_ms = stt[1] / 480
    assert float(tick) == pytest.approx(llm[0] + llm[1] + 300 * per_ms, abs=0.01)
    assert "450 ms budget 300 ms over" in Page(source).text


def test_the_callers_speech_ends_and_the_replys_begins_where_it_was_measured():
    source = heard(one_test(turn()))
    (caller, reply), t0 = places(source, 'class="wave'), float(re.findall(r"--t0:([\d.]+)%", source)[0])
    stt = places(source)[0]
    per_ms = stt[1] / 480
    assert stt[0] == pytest.approx(t0, abs=0.01)
    assert caller[0] + caller[1] == pytest.approx(t0 + 250 * per_ms, abs=20 * per_ms)
    assert reply[0] == pytest.approx(t0 + (960 - 250) * per_ms, abs=20 * per_ms)
    assert reply[1] == pytest.approx(1500 * per_ms, abs=per_ms)


def test_several_replies_are_drawn_from_where_the_first_began():
    source = heard(one_test(turn(flags=("split", "cut_off"), playout={"lost": 0, "begins_ms": -700.0})))
    (_, reply), t0 = places(source, 'class="wave'), float(re.findall(r"--t0:([\d.]+)%", source)[0])
    assert reply[0] == pytest.approx(t0 - 700 * places(source)[0][1] / 480, abs=0.01)


def test_a_missing_file_is_shown_as_missing():
    source = html.page(document(one_test(turn())), read_audio=lambda path: None)
    assert "Caller: the file audio/151-0 caller.wav was not there when this page was made" in Page(source).text
    assert [attrs["src"] for attrs in Page(source).all("audio")] == [
        "audio/151-0%20caller.wav",
        "audio/151-0%20reply.wav",
    ]


def test_silence_has_no_place_on_the_axis():
    nothing = Audio(np.zeros(8_000, np.float32), 8_000)
    assert "Reply: no speech is audible in it" in Page(heard(one_test(turn()), read=lambda path: nothing)).text


def test_what_is_embedded_stays_below_the_cap(monkeypatch):
    turns = [turn(f"u{number}") for number in range(4)]
    carried = [attrs["src"] for attrs in Page(heard(one_test(*turns))).all("audio")]
    monkeypatch.setattr(html, "EMBEDDED_BYTES", len(carried[0]) + len(carried[1]) + 10)
    sources = [attrs["src"] for attrs in Page(heard(one_test(*turns))).all("audio")]
    assert sum(source.startswith("data:") for source in sources) == 2
    assert "audio/151-0%20reply.wav" in sources


def test_only_files_in_the_folder_are_read(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    for place in (folder / "in.wav", tmp_path / "out.wav"):
        soundfile.write(place, voice(0.5).samples, 16_000)
    read = files_in(folder)
    assert read("in.wav").ms == 500
    assert [read(path) for path in ("../out.wav", "none.wav", "\0", "in.wav\n")] == [None] * 4


def test_holes_and_clipping_are_marked_in_the_waveform():
    torn = voice(2.0, 8_000)
    torn.samples[8_000:8_480] = 0
    torn.samples[4_000:4_200] = 1
    source = heard(one_test(turn()), read=lambda path: torn)
    assert 'class="mark hole"' in source
    assert 'class="mark clipped"' in source
    assert "clipped 0.50 to 0.5" in Page(source).text
    assert re.search("hole .*1.00 to 1.06 s", Page(source).text)


def test_a_pause_for_want_of_audio_is_no_hole():
    late = voice(2.0, 8_000)
    late.samples[8_000:8_480] = 0
    source = heard(one_test(turn(playout={"lost": 0, "pauses_ms": [[1000.0, 1060.0]]})), read=lambda path: late)
    reply = source[source.index('data-side="reply"') :]
    assert 'class="mark pause"' in reply
    assert 'class="mark hole"' not in reply[: reply.index("</svg>")]
    assert "stood still, audio came late 1.00 to 1.06 s" in Page(source).text


def test_what_the_figures_call_sound_is_not_drawn_as_damage():
    torn = voice(2.0, 8_000)
    torn.samples[8_000:8_480] = 0
    whole = turn(sound={"made": Sound(gap_ms=0.0), "heard": Sound(gap_ms=0.0, clipped_ms=13.0)})
    source = heard(one_test(whole), read=lambda path: torn)
    reply = source[source.index('data-side="reply"') :]
    assert 'class="mark' not in reply[: reply.index("</svg>")]


def test_the_pause_that_was_taken_for_the_end_is_marked_in_the_callers_lane():
    said = voice(2.5)
    said.samples[16_000:24_000] = 0
    torn = turn(flags=("split", "cut_off"), playout={"lost": 0, "begins_ms": -700.0})
    source = heard(one_test(torn), read=lambda path: said)
    assert re.search(
        r"Caller longest pause in the sentence, taken for its end (0\.9|1\.0)\d to 1\.5\d s", Page(source).text
    )
    assert re.search(
        "before the caller had finished; in turn 1 the caller had paused for (4|5)\\d\\d ms", Page(source).text
    )
    assert "voice to voice 960 ms to the last reply" in Page(source).text


def test_a_reply_before_t0_keeps_within_the_axis():
    source = render(document(one_test(turn(us={"t4_first": -200_000}, flags=("cut_off",)))), "html")
    places = [float(left) for left in re.findall(r"left:(-?[\d.]+)%", source)]
    assert min(places) >= 0
    assert max(places) <= 100


def test_a_time_out_shows_what_there_is_and_what_never_came():
    shown = page(one_test(turn(missing=("t3_first", "t3_last", "t4_first", "t4_last", "t5")), outcome="failed"))
    assert "T3_FIRST never came: the link tts → outbound (the reply's first audio)." in shown.text
    assert bars(shown)[:2] == ["stt 480 ms", "llm 220 ms"]
    assert "tts voice never came" in shown.text
    assert "T5 -" in shown.text


def test_a_turn_without_any_event_is_still_a_page():
    nothing = turn(missing=tuple(event for event in EVENTS if event != "t0"), leading_silence_ms=None, tts_rtf=None)
    assert bars(page(one_test(nothing))) == []


def test_differing_words_are_marked():
    wrong = Words("the perch canoe slid on the planks", 2, 8, 9, 41)
    source = render(document(one_test(turn(transcript=wrong))), "html")
    assert [re.sub("<.*?>", "", part) for part in re.findall(r"<del.*?</del>", source)[1:]] == [
        "lost: birch",
        "lost: smooth",
    ]
    assert [re.sub("<.*?>", "", part) for part in re.findall(r"<ins.*?</ins>", source)[1:]] == ["added: perch"]


def test_a_scripted_stack_is_labelled_on_every_turn():
    shown = page(one_test(turn(), turn()), services=[SCRIPTED])
    assert len([1 for attrs in shown.all("span") if attrs.get("class") == "scripted"]) == 1 + 1 + 2 + 1
    assert "SCRIPTED" not in page(one_test(turn())).text


def test_a_synthetic_corpus_says_so():
    assert "WER 0.12, synthetic speech" in page(one_test(turn())).text


def test_many_turns_are_folded_but_for_failures_and_the_slowest():
    turns = [turn(f"u{number}", slower_ms=number) for number in range(30)]
    shown = page(one_test(*turns, turn(missing=("t5",))))
    opened = [attrs["id"] for attrs in shown.all("details") if "open" in attrs]
    # The first is looked at first, for all those whose transcripts are wrong.
    assert opened == ["turn-1", "turn-28", "turn-29", "turn-30", "turn-31"]
    assert "5 of 31 turns have their waveforms" in shown.text


def test_failed_tests_come_first_with_message_and_folded_logs():
    log = {"title": "whisper: last lines", "text": "one\n\x1b[31mtwo"}
    shown = page(
        one_test(turn(), nodeid="t.py::fine"),
        one_test(nodeid="t.py::broken", outcome="error", message="whisper died", sections=[log]),
    )
    assert shown.text.index("t.py::broken") < shown.text.index("t.py::fine")
    assert "whisper died" in shown.text
    assert "one \\x1b[31mtwo" in shown.text


@pytest.mark.parametrize("tests", [[], [one_test(outcome="skipped")]], ids=["no test", "skipped"])
def test_nothing_measured_is_said_in_the_headline(tests):
    shown = page(*tests, services=())
    assert "Nothing was measured" in shown.text
    assert "No turn was measured." in shown.text


def test_machine_settings_and_services_are_there():
    text = page(one_test(turn())).text
    assert "versions.pytest 9.0.0" in text
    assert "trials 5" in text
    assert "faster-whisper" in text


def test_a_comparison_is_a_table_with_what_regressed_first():
    row = {"corpus": "", "pace": "asap", "unit": "ms", "base": 400.0, "head": 400.0, "change": 0.0, "low": None}
    row |= {"high": None, "n": 9, "door": "", "note": ""}
    slow = row | {"metric": "tts", "verdict": "regressed", "head": 500.0, "change": 100.0, "low": 90.0, "high": 110.0}
    made = document(one_test(turn()))
    made["comparisons"] = [
        with_baseline(made, made, HOSTILE)
        | {"verdict": "regressed", "doors": ["tts"], "rows": [row | {"metric": "stt", "verdict": "same"}, slow]}
    ]
    text = Page(render(made, "html")).text
    assert "regressed against </script><img" in text
    assert "at the door of tts" in text
    assert text.index("tts regressed 400 ms 500 ms +100 ms +90 ms to +110 ms 9") < text.index("stt same 400 ms")


def test_what_to_look_at_first_names_stage_and_words():
    wrong = Words("a canoe slides on planks", 1, 6, 5, 29)
    slow = turn(
        "slow",
        us={name: at + 900_000 for name, at in {"t3_last": 1_150_500, "t4_last": 1_190_000, "t5": 1_690_001}.items()},
    )
    made = document(one_test(turn(), turn(), turn("torn", heard=wrong), slow))
    text = Page(render(made, "html")).text
    assert "Turn 4 (slow): total 2590 ms. It is tts (voice) that was slow: 1350 ms, its median is 450 ms turn 4" in text
    assert "Turn 3 (torn): 1 of 6 words of the reply are wrong: lost “well”. By the tts (voice) or the judge" in text


def looked_at(*tests):
    made = document(*tests)
    return {one.kind: one.sentence for one in findings(made, list(reading.entries(made)))}


def test_a_word_lost_on_the_line_is_told_from_one_that_tts_or_judge_lost():
    wrong = Words("a canoe slides on planks", 1, 6, 5, 29)
    torn = turn(
        heard=wrong,
        playout={"lost": 35, "duplicated": 0},
        counters={"rtp_packets": 65},
        sound={"made": Sound(gap_ms=0.0), "heard": Sound(gap_ms=560.0)},
    )
    at_line = "It points to the line (outbound): 35 of 100 packets (35 %) lost, 560 ms of holes are inside speech"
    assert at_line in looked_at(one_test(torn))["Wrong words heard"]
    assert "On the line" not in looked_at(one_test(torn))
    assert "On the line" in looked_at(one_test(turn(playout={"lost": 1})))
    made_so = turn(heard=wrong, sound={"made": Sound(gap_ms=60.0), "heard": Sound(gap_ms=61.0)})
    assert "It points to the tts (voice): 61 ms" in looked_at(one_test(made_so))["Wrong words heard"]
    assert (
        "tts (voice) or the judge, only an ear can tell" in looked_at(one_test(turn(heard=wrong)))["Wrong words heard"]
    )


def test_one_word_that_went_wrong_in_several_turns_is_one_finding():
    wrong = Words("a canoe slides on planks", 1, 6, 5, 29)
    made = document(one_test(turn(heard=wrong), turn("same", heard=wrong)))
    found = [one for one in findings(made, list(reading.entries(made))) if one.kind == "Wrong words heard"]
    assert [one.sentence.endswith("; also turn 2") for one in found] == [True]


def test_a_reply_that_stands_still_is_looked_at_and_jitter_is_not():
    still = turn(playout={"lost": 0, "pauses_ms": [[300.0, 1400.0], [1500.0, 1560.0]]}, tts_rtf=1.9)
    sentence = (
        "the reply stood still for 1.1 s in its middle, as no audio came; tts (voice) needed 1.9 s for each second"
    )
    assert sentence in looked_at(one_test(still))["Stood still"]
    jittery = turn(playout={"lost": 0, "pauses_ms": [[1500.0, 1560.0]]})
    assert "Stood still" not in looked_at(one_test(jittery))


def test_traces_of_clipping_beside_lost_packets_are_not_looked_at():
    def clipped(made_ms, heard_ms):
        return turn(sound={"made": Sound(clipped_ms=made_ms), "heard": Sound(clipped_ms=heard_ms)})

    assert "Clipped reply" not in looked_at(one_test(clipped(0.0, 13.0)))
    assert "40 ms are clipped" in looked_at(one_test(clipped(0.0, 40.0)))["Clipped reply"]
    assert (
        "13 ms are clipped, 12 ms of them as the tts made it"
        in looked_at(one_test(clipped(12.0, 13.0)))["Clipped reply"]
    )


def test_turns_that_one_stage_made_late_are_one_finding():
    late = [one_test(turn(f"u{n}"), nodeid=f"t::{n}", outcome="failed", budgets=[budget()]) for n in range(8)]
    made = document(*late)
    found = [one for one in findings(made, list(reading.entries(made))) if one.kind == "Over budget"]
    (one,) = found
    assert one.sentence.startswith("all 8 turns, the worst is turn 1 (u0): total took 1690 ms")


def test_who_cut_in_is_named_with_how_early_it_was():
    torn = turn(flags=("split", "cut_off"), playout={"lost": 0, "begins_ms": -740.0})
    sentence = looked_at(one_test(torn, turn("other", flags=("split", "cut_off"))))["Cut off"]
    assert "the stt (speech to text) took a pause for the end of the sentence" in sentence
    assert "the reply began 740 ms before the caller had finished; also turn 2" in sentence


def test_a_turn_that_missed_its_budget_says_so_and_one_that_kept_it_does_not():
    test = one_test(turn("slow"), turn("quick", slower_ms=-600), outcome="failed", budgets=[budget()])
    assert page(test).text.count("completed over budget: total") == 1


def test_a_missed_budget_links_to_its_test_and_names_it_once():
    of_test = budget(source="@pytest.mark.latency on tests/test_it.py::test_it")
    source = render(document(one_test(turn(), outcome="failed", budgets=[of_test])), "html")
    table = source[source.index("Budgets that were not kept") :]
    table = table[: table.index("</table>")]
    assert table.count("tests/test_it.py::test_it") == 1
    assert '<a href="#test-1">tests/test_it.py::test_it</a>' in table


def test_errors_in_a_log_are_counted_on_its_fold():
    text = "INFO fine\nERROR one\nTraceback (most recent call last):\n  raise\nKeyError: no ERRORS here"
    shown = page(one_test(outcome="error", sections=[{"title": "whisper: last lines", "text": text}]))
    assert "whisper: last lines 2 lines with an error" in shown.text


def test_turns_of_passed_tests_are_folded_where_one_failed():
    failed = one_test(turn(), nodeid="t::failed", outcome="failed", budgets=[budget()])
    fine = turn("fine", transcript=Words("The birch canoe slid on the smooth planks.", 0, 8, 0, 41))
    shown = page(one_test(fine, nodeid="t::passed"), failed)
    assert [attrs["id"] for attrs in shown.all("details") if "open" in attrs] == ["turn-2"]


def test_a_budget_that_was_missed_is_looked_at_first():
    test = one_test(turn(), outcome="failed", budgets=[budget()])
    assert "Turn 1 (canoe): total took 1690 ms, its budget is 1500 ms. The largest part of it is tts" in page(test).text


@pytest.mark.parametrize(
    ("metric", "first"),
    [("loop_wer", "Wrong words heard"), ("transcript_wer", "Misunderstood"), ("cut_off_rate", "Cut off")],
)
def test_what_a_test_failed_for_comes_before_what_was_merely_slow(metric, first):
    wrong = turn("late", slower_ms=900, heard=Words("a canoe", 4, 6, 20, 29), flags=("cut_off",))
    missed = budget(metric=metric, unit="ratio", limit=0.1, observed=0.5, limit_ms=None, observed_ms=None)
    made = document(one_test(turn(), wrong, outcome="failed", budgets=[missed]))
    kinds = [one.kind for one in findings(made, list(reading.entries(made)))]
    assert kinds[0] == first
    assert set(kinds) == {"Cut off", "Misunderstood", "Wrong words heard"}


def test_many_missed_budgets_are_folded():
    failed = [one_test(turn(), nodeid=f"t.py::test_{n}", outcome="failed", budgets=[budget()]) for n in range(30)]
    shown = page(*failed)
    assert "5 further budgets" in shown.text
    assert "further budgets" not in page(*failed[: html.MOST_TESTS]).text


def test_tests_by_stages_have_median_budget_source_and_verdict():
    text = page(one_test(turn(), turn(slower_ms=100), budgets=[budget()])).text
    assert "total 2 1740 ms - max 1790 ms 1500 ms over 1690 ms latency(total=" in text
    assert "stt speech to text 2 530 ms - max 580 ms - no budget" in text


def test_faults_and_replays_are_said():
    fault = {"kind": "delay", "link": "llm_tts", "into": "kokoro", "ms": 300.0}
    text = page(one_test(turn(faults=(fault,), replayed={"transcript": "as said", "reply": "as told"}))).text
    assert "Injected on purpose: every frame into kokoro was held back by 300 ms." in text
    assert "passed on in place of this turn's own: transcript “ as said ”, reply “ as told ”" in text


def test_work_and_sound_stand_with_the_turn():
    found = Sound(clipped_ms=0.0, gap_ms=61.0, bandwidth_hz=3875.0)
    text = page(one_test(turn(work_ms={"stt": 480.0, "llm": 90.0}, sound={"heard": found}))).text
    assert "stt 480 ms, llm 90 ms" in text
    assert "as the caller heard it 0 61 3875 - - - -" in text
    assert "61 ms of holes are inside speech" in text


def test_a_great_figure_is_written_out():
    found = Sound(clipped_ms=0.0, gap_ms=0.0, bandwidth_hz=12_000.0)
    assert "as the tts made it 0 0 12 000" in page(one_test(turn(sound={"made": found}))).text


def test_a_page_of_500_turns_stays_small():
    turns = [turn(f"u{number}", slower_ms=number) for number in range(500)]
    source = heard(one_test(*turns))
    assert len(source) < 2 * html.EMBEDDED_BYTES
    assert source.count("<svg") == 2 * 4
