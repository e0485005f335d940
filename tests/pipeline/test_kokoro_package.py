"""The loop on the `kokoro` package (PyTorch) instead of onnxruntime: it really speaks, and is understood."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_voiceloop.call.corpus import Corpus
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.simulator import Simulator
    from pytest_voiceloop.stack.spec import Pace, StackSpec


@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace: Pace) -> StackSpec:
    return reference_stack(voiceloop_pace, options={"kokoro": ["--engine", "kokoro"]})


@pytest.mark.torch
def test_the_kokoro_package_is_understood(
    voiceloop_stack: LiveStack, voiceloop_simulator: Simulator, voiceloop_corpus: Corpus
) -> None:
    engines = {process.name: process.facts["engine"] for process in voiceloop_stack.running.processes}
    assert engines["kokoro"] == "kokoro"
    turns = voiceloop_simulator.measure(
        voiceloop_corpus.some("sheet-heart", "lemons-heart", "rice-michael", "hogs-michael"), trials=1, warmup=1
    )
    heard = [turn.heard for turn in turns]
    assert len(heard) >= 3
    assert sum(words.errors for words in heard) / sum(words.words for words in heard) <= 0.1


class Smuggled:
    """What pickle takes for an order to make a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.torch
def test_a_file_of_weights_runs_no_code(tmp_path: Path) -> None:
    import torch

    weights, made = tmp_path / "weights.pth", tmp_path / "made"
    torch.save({"bert": Smuggled(made)}, weights)
    nowhere = ("--listen", "127.0.0.1:0", "--register", "127.0.0.1:0", "--outbound", "127.0.0.1:0")
    ended = subprocess.run(
        [sys.executable, "-m", "voiceloop_services.kokoro", "--engine", "kokoro", "--model", str(weights), *nowhere],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode != 0
    assert "mkdir" in ended.stderr, "it has to have been refused for what it holds"
    assert not made.exists()
