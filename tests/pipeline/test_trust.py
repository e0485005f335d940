"""Is what the loop says true? The same words without taps, other replies to other clips, a slow service named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_voiceloop.call.alone import KokoroAlone, LlamaAlone, WhisperAlone
    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.simulator import Simulator

pytestmark = pytest.mark.pipeline

FUNCTION_WORDS = {
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "by",
    "can",
    "do",
    "does",
    "for",
    "from",
    "in",
    "is",
    "it",
    "its",
    "of",
    "on",
    "or",
    "our",
    "than",
    "that",
    "the",
    "these",
    "to",
    "us",
}


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - FUNCTION_WORDS


def test_swapping_two_clips_swaps_their_replies(voiceloop_simulator: Simulator, voiceloop_corpus: Corpus) -> None:
    first, second = voiceloop_corpus[0], voiceloop_corpus[1]

    def replies(*order):
        return {turn.utterance.id: turn.reply.text for turn in voiceloop_simulator.measure(order, trials=1, warmup=0)}

    one_way, other_way = replies(first, second), replies(second, first)
    assert one_way == other_way
    assert one_way[first.id] != one_way[second.id]


def test_replies_take_up_what_was_said(voiceloop_llama: LlamaAlone, voiceloop_corpus: Corpus) -> None:
    sentences = [utterance.text for utterance in list(voiceloop_corpus)[:10]]
    taken_up = [said for said in sentences if content_words(said) & content_words(voiceloop_llama.reply(said).text)]
    assert len(taken_up) >= 8


def test_services_say_the_same_words_when_the_harness_is_their_neighbour(
    voiceloop_simulator: Simulator,
    voiceloop_whisper: WhisperAlone,
    voiceloop_llama: LlamaAlone,
    voiceloop_kokoro: KokoroAlone,
    voiceloop_corpus: Corpus,
    tmp_path: Path,
) -> None:
    turn = voiceloop_simulator.say(voiceloop_corpus[0])
    assert voiceloop_whisper.transcribe(voiceloop_corpus[0]).text == turn.transcript.text
    assert voiceloop_llama.reply(turn.transcript.text).text == turn.reply.text
    speech = voiceloop_kokoro.speak(turn.reply.text)
    soundfile.write(tmp_path / "reply.wav", speech.samples, speech.rate_hz)
    heard = voiceloop_whisper.transcribe(tmp_path / "reply.wav", text=turn.reply.text)
    assert heard.wer is not None
    assert heard.wer <= 0.1


def test_a_service_slowed_by_a_second_fails_the_run_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.pipeline
        @pytest.mark.latency(total="2s")
        def test_answers_in_time(voiceloop_simulator, voiceloop_corpus):
            voiceloop_simulator.say(voiceloop_corpus[0])
        """
    )
    result = pytester.runpytest_subprocess("-m", "pipeline", "--voiceloop-require", "--voiceloop-slow=llama=1s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*total is over its limit of 2000 ms*", "*furthest over its target: llm;*"])
