"""What the reference stack promises: an answer within two seconds, in words that survive, after the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.simulator import Simulator


@pytest.mark.pipeline
@pytest.mark.timeout(900)
@pytest.mark.latency(total="2s", percentile=50)
@pytest.mark.quality(transcript_wer=0.1, loop_wer=0.1, cut_off_rate=0.05)
def test_the_corpus_is_answered_within_two_seconds(voiceloop_simulator: Simulator, voiceloop_corpus: Corpus) -> None:
    voiceloop_simulator.measure(voiceloop_corpus, trials=1, warmup=1)
