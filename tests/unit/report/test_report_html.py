import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from report_documents import HOSTILE, SCRIPTED, budget, document, hostile_turn, one_test, turn

from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report.comparison import with_baseline
from pytest_voiceloop.report.files import write_atomically
from pytest_voiceloop.report.render import FORMATS, render

VOID_ELEMENTS = {"meta", "br"}


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
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def page(*tests, **more):
    return Page(render(document(*tests, **more), "html"))


def bars(shown):
    return [attrs["title"] for attrs in shown.all("span") if "bar " in attrs.get("class", "")]


def test_formats_are_those_that_render():
    assert FORMATS == ("html", "json")
    made = document(one_test(turn()))
    assert json.loads(render(made, "json")) == made
    with pytest.raises(ValueError, match="no report format 'pdf'; use one of html, json"):
        render(made, "pdf")


def test_the_verdict_comes_first():
    shown = page(one_test(turn(), outcome="failed", budgets=[budget()]))
    body = shown.text.partition("Budgets that were not kept")
    assert "Failed: 1 test failed, 1 budget missed, 1 of 1 turn ok" in body[0]
    assert "1690 ms 1500 ms 1" in body[2]


def test_nothing_reaches_out_of_the_page():
    source = render(document(one_test(turn())), "html")
    shown = Page(source)
    assert not shown.all("script")
    assert not shown.all("link")
    assert "http:" not in source.replace("http-equiv", "")
    assert "https:" not in source
    assert "default-src 'none'" in source
    assert [attrs["src"] for attrs in shown.all("audio")] == [
        "audio/151-0%20caller.wav",
        "audio/151-0%20reply.wav",
    ]


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
    assert not shown.all("script")
    assert not shown.all("img")
    assert not any(name.startswith("on") for _, attrs in shown.elements for name in attrs)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", source)
    assert "</script><img src=x onerror=alert(1)> \\x1b[31mred\\x00 \\u202eright-to-left" in shown.text
    assert "x" * 10_000 in shown.text
    assert shown.all("audio")[0]["src"] == "javascript%3Aalert%281%29%22%3E%3Cscript%3E"
    write_atomically(tmp_path / "report.html", source)


def test_both_ledgers_are_drawn_on_one_axis():
    source = render(document(one_test(turn())), "html")
    shown = Page(source)
    assert bars(shown)[:5] == ["stt 480 ms", "llm 220 ms", "tts 450 ms", "transfer 40 ms", "retranscription 500 ms"]
    assert bars(shown)[5:9] == ["stt 480 ms", "llm 80 ms", "tts 340 ms", "transfer 60 ms"]
    assert bars(shown)[9].startswith("leading silence 42 ms")
    placed = [(float(left), float(width)) for left, width in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", source)]
    for (left, width), (following, _) in pairwise(placed[:5]):
        assert left + width == pytest.approx(following, abs=0.01)
    assert sum(placed[4]) == pytest.approx(100, abs=0.01)


def test_overlap_is_drawn_and_named():
    shown = page(one_test(turn(us={"t2_first": 300_000, "t2_last": 420_000})))
    assert "llm -60 ms, overlaps: the service worked ahead" in bars(shown)
    assert "llm worked ahead" in shown.text


def test_a_reply_before_t0_keeps_within_the_axis():
    source = render(document(one_test(turn(us={"t4_first": -200_000}, flags=("cut_off",)))), "html")
    places = [float(left) for left in re.findall(r"left:(-?[\d.]+)%", source)]
    assert min(places) >= 0
    assert max(places) <= 100


def test_a_time_out_shows_what_there_is_and_what_never_came():
    shown = page(one_test(turn(missing=("t3_first", "t3_last", "t4_first", "t4_last", "t5")), outcome="failed"))
    assert "T3_FIRST never came: the link tts → outbound (the reply's first audio)." in shown.text
    assert bars(shown)[:2] == ["stt 480 ms", "llm 220 ms"]
    assert "T5 -" in shown.text


def test_a_turn_without_any_event_is_still_a_page():
    nothing = turn(missing=tuple(event for event in EVENTS if event != "t0"), leading_silence_ms=None, tts_rtf=None)
    assert bars(page(one_test(nothing))) == []


def test_differing_words_are_marked():
    wrong = Words("the perch canoe slid on the planks", 2, 8, 9, 41)
    source = render(document(one_test(turn(transcript=wrong))), "html")
    assert [re.sub("<.*?>", "", part) for part in re.findall(r"<del.*?</del>", source)] == ["birch", "smooth"]
    assert [re.sub("<.*?>", "", part) for part in re.findall(r"<ins.*?</ins>", source)] == ["perch"]


def test_a_scripted_stack_is_labelled_on_every_turn():
    shown = page(one_test(turn(), turn()), services=[SCRIPTED])
    assert len([1 for attrs in shown.all("span") if attrs.get("class") == "scripted"]) == 1 + 1 + 2 + 1
    assert "SCRIPTED" not in page(one_test(turn())).text


def test_a_synthetic_corpus_says_so():
    assert "WER 0.12, synthetic speech" in page(one_test(turn())).text


def test_many_turns_are_folded_but_for_failures_and_the_slowest():
    turns = [turn(f"u{number}", slower_ms=number) for number in range(30)]
    shown = page(one_test(*turns, turn(missing=("t5",))))
    assert sum("open" in attrs for attrs in shown.all("details")) == 4
    assert "4 of 31 turns are unfolded" in shown.text


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


def test_a_comparison_is_shown_and_does_no_harm():
    made = document(one_test(turn()))
    made["comparisons"] = [with_baseline(made, made, HOSTILE)]
    assert "Compared INCONCLUSIVE against </script><img" in Page(render(made, "html")).text
