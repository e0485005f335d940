"""The default corpus on the reference stack with real models, at both paces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_voiceloop.call.corpus import Utterance
    from pytest_voiceloop.call.simulator import Simulator

BOTH_PACES = pytest.mark.parametrize("voiceloop_pace", ["asap", "realtime"], indirect=True)


@pytest.mark.pipeline
@BOTH_PACES
def test_every_sentence_is_answered(voiceloop_simulator: Simulator, voiceloop_utterance: Utterance) -> None:
    turn = voiceloop_simulator.say(voiceloop_utterance)
    assert turn.reply.text
    assert turn.heard.text
