"""Is what the loop says true? The same words without taps, other replies to other clips, a slow service named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest
import soundfile

if TYPE_CHECKING:
    from pytest_voiceloop.call.alone import KokoroAlone, LlamaAlone, WhisperAlone
    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.simulator import Simulator

pytestmark = pytest.mark.pipeline

MODELS = Path(os.environ.get("VOICELOOP_MODELS") or platformdirs.user_cache_path("voiceloop") / "models").absolute()

FUNCTION_WORDS = {
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "been",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "his",
    "how",
    "i",
    "i'm",
    "if",
    "in",
    "is",
    "isn't",
    "it",
    "it's",
    "its",
    "just",
    "me",
    "my",
    "no",
    "not",
    "of",
    "on",
    "or",
    "our",
    "she",
    "should",
    "so",
    "some",
    "that",
    "that's",
    "the",
    "their",
    "them",
    "there",
    "these",
    "they",
    "this",
    "to",
    "too",
    "us",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "which",
    "who",
    "why",
    "will",
    "with",
    "would",
    "yes",
    "you",
    "your",
}


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower())) - FUNCTION_WORDS


def test_swapping_two_clips_swaps_their_replies(voiceloop_simulator: Simulator, voiceloop_corpus: Corpus) -> None:
    first, second = voiceloop_corpus[0], voiceloop_corpus[1]

    def replies(*order):
        return {turn.utterance.id: turn.reply.text for turn in voiceloop_simulator.measure(order, trials=1, warmup=0)}

    one_way, other_way = replies(first, second), replies(second, first)
    assert one_way == other_way
    assert one_way[first.id] != one_way[second.id]


def test_replies_take_up_what_was_understood(voiceloop_simulator: Simulator, voiceloop_corpus: Corpus) -> None:
    turns = voiceloop_simulator.measure(list(voiceloop_corpus)[:10], trials=1, warmup=0)
    taken_up = [turn for turn in turns if content_words(turn.transcript.text) & content_words(turn.reply.text)]
    assert len(taken_up) >= 8
    assert len({turn.transcript.text for turn in turns}) == len({turn.reply.text for turn in turns}) == 10


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
        @pytest.mark.latency(total="2s", llm="500ms")
        def test_answers_in_time(voiceloop_simulator, voiceloop_corpus):
            voiceloop_simulator.say(voiceloop_corpus[0])
        """
    )
    # pytester gives the run a home of its own, which holds no models.
    monkeypatch.setenv("VOICELOOP_MODELS", str(MODELS))
    run = ("-m", "pipeline", "--voiceloop-require")
    as_it_is = pytester.runpytest_subprocess(*run)
    as_it_is.stdout.no_fnmatch_line("*llm is over its limit*")
    slowed = pytester.runpytest_subprocess(*run, "--voiceloop-slow=llama=1s")
    slowed.assert_outcomes(failed=1)
    slowed.stdout.fnmatch_lines(
        [
            "*total is over its limit of 2000 ms*",
            "*over their targets: *llm by *",
            "*injected into call *: every frame into llama was held back by 1000 ms*",
            "*llm is over its limit of 500 ms*",
        ]
    )
