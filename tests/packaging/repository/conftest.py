"""The stack under test, and what is said to it."""

import pytest


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Noise that swells five times a second, as syllables do: to a scripted recogniser it is speech."""
    import numpy as np
    import soundfile

    seconds = np.arange(9600) / 16_000
    syllables = 0.65 - 0.5 * np.cos(2 * np.pi * 5 * seconds)
    noise = 0.12 * np.random.default_rng(7).standard_normal(len(seconds))
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    soundfile.write(path, np.pad(noise * syllables, 1600), 16_000)
    return path


@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace):
    """The reference services with scripted engines."""
    from pytest_voiceloop.call import assess, machine
    from pytest_voiceloop.stack.reference import reference_stack

    # The machine that runs the matrix may be too busy to time anything; what is tested is the rest.
    assess.VOID_LATENESS_MS = 10_000
    machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100
    return reference_stack(voiceloop_pace, scripted=True)
