"""One call of five turns, in which a later reply needs an earlier turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_voiceloop.call.alone import KokoroAlone
    from pytest_voiceloop.call.simulator import Simulator

DIALOGUE = (
    "Hello, my name is Anna.",
    "I have a dog called Max.",
    "We live in a small house by the sea.",
    "Today we went for a long walk.",
    "What is the name of my dog?",
)


@pytest.mark.pipeline
def test_a_later_reply_knows_an_earlier_turn(
    voiceloop_simulator: Simulator, voiceloop_kokoro: KokoroAlone, tmp_path: Path
) -> None:
    turns = []
    for number, sentence in enumerate(DIALOGUE):
        speech = voiceloop_kokoro.speak(sentence)
        clip = tmp_path / f"{number}.wav"
        soundfile.write(clip, speech.samples, speech.rate_hz)
        turns.append(voiceloop_simulator.say(clip, text=sentence))
    assert [turn.index for turn in turns] == [0, 1, 2, 3, 4]
    assert "Max" in turns[-1].reply.text
