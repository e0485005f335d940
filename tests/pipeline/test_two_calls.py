"""Two callers at the same time: both are answered, each with their own words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pytest_voiceloop.call.simulator import Simulator

if TYPE_CHECKING:
    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.live import LiveStack


@pytest.mark.pipeline
def test_two_calls_at_once_are_answered_as_each_would_be_alone(
    voiceloop_stack: LiveStack, voiceloop_corpus: Corpus
) -> None:
    clips = list(voiceloop_corpus.some("sheet-heart", "rice-michael"))
    alone = [Simulator(voiceloop_stack).measure([clip], trials=1, warmup=0)[0] for clip in clips]
    with ThreadPoolExecutor(len(clips)) as callers:
        at_once = list(
            callers.map(lambda clip: Simulator(voiceloop_stack).measure([clip], trials=1, warmup=0)[0], clips)
        )
    assert [turn.transcript.text for turn in at_once] == [turn.transcript.text for turn in alone]
    assert [turn.reply.text for turn in at_once] == [turn.reply.text for turn in alone]
    assert alone[0].reply.text != alone[1].reply.text
    for turn in at_once:
        assert turn.heard.wer is not None
        assert turn.heard.wer <= 0.2
