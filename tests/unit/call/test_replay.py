"""What a tap passes on in place of what crosses, when a recorded run is replayed."""

import pytest

from pytest_voiceloop.call.replay import Rewriter, Script, scripts
from pytest_voiceloop.wire.frames import Decoder, Frame, Layout

SCRIPT = Script("What is that?", ("It is a dog.", "A big one."))


def texts(role, *frames):
    """What comes out of the tap, as it reads at the other end."""
    rewriter = Rewriter(SCRIPT, role)
    decoder = Decoder(Layout.TEXT)
    decoder.feed(b"\0\0\0\x03151")
    return [
        frame.text if frame.kind == "text" else frame.kind
        for sent in map(rewriter.rewrite, frames)
        for frame in decoder.feed(sent)
    ]


def text(words):
    return Frame("text", words.encode())


END, CANCEL = Frame("end"), Frame("cancel")


def test_every_transcript_becomes_the_recorded_one():
    assert texts("stt_llm", text("What is"), CANCEL, text("What is hat?"), END) == [
        *("What is that?", "cancel", "What is that?", "end")
    ]


def test_a_shorter_reply_is_said_to_the_end_of_the_recorded_one():
    assert texts("llm_tts", text("A cat."), END) == ["It is a dog.", "A big one.", "end"]


def test_a_longer_reply_is_cut_to_the_recorded_one():
    assert texts("llm_tts", text("A"), text("cat"), text("or two."), END) == ["It is a dog.", "A big one.", "end"]


def test_a_reply_that_is_taken_back_begins_anew():
    assert texts("llm_tts", text("A"), CANCEL, text("Two"), END) == [
        *("It is a dog.", "cancel", "It is a dog.", "A big one.", "end")
    ]


def test_no_reply_is_made_up_where_none_came():
    assert texts("llm_tts", END) == ["end"]


def turn(**changed):
    return {
        "status": "ok",
        "warmup": False,
        "index": 0,
        "utterance": {"id": "hello"},
        "transcript": {"text": "What is that?"},
        "reply": {"text": "It is a dog. A big one.", "clauses": ["It is a dog.", "A big one."]},
        **changed,
    }


def test_the_first_whole_turn_of_an_utterance_is_replayed():
    later = turn(transcript={"text": "What was that?"})
    assert scripts([turn(status="timeout"), turn(warmup=True), turn(), later]) == {("hello", 0): SCRIPT}


def test_turns_of_one_call_are_kept_apart():
    assert set(scripts([turn(), turn(index=1)])) == {("hello", 0), ("hello", 1)}


@pytest.mark.parametrize("empty", [{"transcript": {"text": ""}}, {"reply": {"text": ""}}])
def test_a_turn_without_words_is_not_replayed(empty):
    assert scripts([turn(**empty)]) == {}


def test_a_record_without_clauses_is_one_clause():
    old = turn(reply={"text": "It is a dog."})
    assert scripts([old])["hello", 0].clauses == ("It is a dog.",)
