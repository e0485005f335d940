"""The sentences of the human recording, when VOICELOOP_OSR names the file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_voiceloop.call.corpus import load_corpus
from pytest_voiceloop.call.osr import osr_manifest

if TYPE_CHECKING:
    from pytest_voiceloop.call.simulator import Simulator

RECORDING = os.environ.get("VOICELOOP_OSR", "")
SENTENCES = (
    [replace(sentence, path=Path(RECORDING)) for sentence in load_corpus(Path(RECORDING).parent, osr_manifest())]
    if RECORDING
    else []
)


@pytest.mark.pipeline
@pytest.mark.skipif(not RECORDING, reason="set VOICELOOP_OSR to the recording (voiceloop corpus pull osr)")
@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_human_speech_is_answered(voiceloop_simulator: Simulator, sentence) -> None:
    turn = voiceloop_simulator.say(sentence)
    assert turn.reply.text
    assert turn.heard.text
