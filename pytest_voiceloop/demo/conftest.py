"""The demo's stack: the reference services with scripted engines. No model listens, thinks or speaks in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from pytest_voiceloop.stack.spec import Pace, StackSpec


@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace: Pace) -> StackSpec:
    """Delays such as real engines have, so that the waterfall has something to show."""
    return reference_stack(
        voiceloop_pace,
        scripted=True,
        options={
            "whisper": ["--script-delay-ms", "250"],
            "llama": ["--script-reply", "You said something. I am only a script.", "--script-delay-ms", "120"],
            "kokoro": ["--script-delay-ms", "300"],
        },
    )
