"""Five turns and their budgets on the scripted stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.simulator import Simulator


@pytest.mark.pipeline
@pytest.mark.latency(total="2s", percentile=50)
def test_demo_answers_in_time(voiceloop_simulator: Simulator, voiceloop_corpus: Corpus) -> None:
    """A caller says five sentences, each on a call of its own."""
    turns = voiceloop_simulator.measure(list(voiceloop_corpus)[:5], trials=1, warmup=1)
    assert all(turn.reply.text for turn in turns)
