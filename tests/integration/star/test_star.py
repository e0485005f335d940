"""An orchestrator that asks each service over HTTP and has its caller on a WebSocket, measured without models."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_voiceloop.call.corpus import default_corpus_folder, load_corpus
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.simulator import Simulator
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import Caller, Judge, Link, Port, Service, StackSpec

HERE = Path(__file__).parent
HEARD = "the box was thrown beside the parked truck"
REPLY = "It was a blue box, I think."


def server(name: str, *options: str) -> Service:
    return Service(name, ("{python}", str(HERE / "server.py"), f"{{{name}.http}}", *options), {"http": Port()})


AGENT = Service(
    "agent",
    ("{python}", str(HERE / "agent.py"), "{agent.ws}", "{ears.http}", "{brain.http}", "{mouth.http}"),
    {"ws": Port()},
)
LINKS = (
    Link("stt_llm", "agent", "ears", "http", "openai-transcription"),
    Link("llm_tts", "agent", "brain", "http", "openai-chat"),
    Link("tts_out", "agent", "mouth", "http", "openai-speech"),
)
STAR = StackSpec(
    (server("ears"), server("brain"), server("mouth"), AGENT),
    LINKS,
    {},
    scripted=True,
    caller=Caller("websocket", {"url": "ws://{agent.ws}/", "reply_rate_hz": 24_000}, "quiescence"),
    judge=Judge("openai", "ears", "http"),
)


def one_turn(spec: StackSpec, logs: Path):
    clip = next(u for u in load_corpus(default_corpus_folder()) if u.id == "box-heart")
    with live_stack(spec, logs) as live:
        return Simulator(live).say(clip)


@pytest.fixture(scope="module")
def turn(tmp_path_factory):
    return one_turn(STAR, tmp_path_factory.mktemp("star"))


def test_a_star_shows_every_event_and_its_ledgers_sum(turn) -> None:
    assert turn.status in ("ok", "void")
    assert None not in turn.events_ms.values()
    for ledger in (turn.complete, turn.first_audio):
        assert sum(ledger.stages_ms.values()) == pytest.approx(ledger.total_ms, abs=1e-6)


def test_a_star_shows_the_words_that_passed(turn) -> None:
    assert turn.transcript.text == HEARD
    assert turn.reply.text == REPLY
    assert turn.heard.text == HEARD
    assert turn.judge == "openai"


def test_the_reply_is_heard_as_it_was_sent(turn) -> None:
    assert turn.reply.audio_s == pytest.approx(1.0)
    assert "ended_by_quiescence" in turn.flags


def test_a_message_can_end_the_reply(tmp_path) -> None:
    caller = Caller(
        "websocket", {"url": "ws://{agent.ws}/", "reply_rate_hz": 24_000, "end_message": "reply-complete"}, "end"
    )
    turn = one_turn(replace(STAR, caller=caller), tmp_path)
    assert "ended_by_quiescence" not in turn.flags
    assert turn.events_ms["t4_last"] is not None


def test_a_language_models_request_can_show_the_transcript(tmp_path) -> None:
    links = (replace(LINKS[1], other="stt_llm"), LINKS[2])
    turn = one_turn(replace(STAR, links=links), tmp_path)
    assert turn.transcript.text == HEARD
    assert turn.events_ms["t1"] < turn.events_ms["t2_first"]


def test_what_cannot_be_seen_merges_its_stages(tmp_path) -> None:
    turn = one_turn(replace(STAR, links=LINKS[2:], judge=Judge("none")), tmp_path)
    assert list(turn.first_audio.stages_ms) == ["stt+llm+tts", "transfer"]
    assert turn.transcript.errors is None


def test_a_server_that_refuses_is_quoted(tmp_path) -> None:
    broken = replace(
        STAR, services=(STAR.services[0], server("brain", "--fail", "/v1/chat/completions"), *STAR.services[2:])
    )
    turn = one_turn(broken, tmp_path)
    assert any("503" in error and "loading the model" in error for error in turn.errors)


def test_a_stack_that_hangs_up_is_told_at_once(tmp_path) -> None:
    deaf = replace(AGENT, command=(*AGENT.command[:3], "127.0.0.1:9", *AGENT.command[4:]))
    with pytest.raises(StackError, match="hung up before its reply"):
        one_turn(replace(STAR, services=(*STAR.services[:3], deaf), links=LINKS[1:]), tmp_path)
