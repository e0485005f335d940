"""Somebody else's repository, with a scripted stack, a clip and a corpus in it, for pytest to be run in."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

RATE_HZ = 16_000
DEADLINE_S = 60
QUIET_PLUGINS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio")
"""Left out of the runs below: slow to import, and no part of what is tested."""
SECOND_JUDGE = "call 155: connected"
"""Every turn has a judge of its own, and the call itself is 151: with the second judge the second turn begins."""
AS_FROM_A_TERMINAL = """
import signal, sys
import pytest
# What a shell starts in the background ignores it, and so would all below.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main())
"""
CONFTEST = """
import dataclasses, sys
import pytest
from pytest_voiceloop.stack.reference import reference_stack

@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace):
    from pytest_voiceloop.call import assess, machine
    # The machine that runs these tests may be too busy to time anything; what is tested is the rest.
    assess.VOID_LATENESS_MS = {void_ms}
    machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100
    spec = reference_stack(voiceloop_pace, scripted=True, options={options!r})
    {then}
    return spec
"""


def speech(duration_s=0.6, rate_hz=RATE_HZ, seed=7):
    """Noise that swells five times a second, as syllables do, with a tenth of a second of silence around it."""
    seconds = np.arange(round(duration_s * rate_hz)) / rate_hz
    syllables = 0.65 - 0.5 * np.cos(2 * np.pi * 5 * seconds)
    noise = 0.12 * np.random.default_rng(seed).standard_normal(len(seconds))
    return np.pad(noise * syllables, rate_hz // 10).astype(np.float32)


def write_clip(path, samples, rate_hz=RATE_HZ):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype="PCM_16")
    return path


def until(condition, what, deadline_s=DEADLINE_S):
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {deadline_s} s for {what}")


class Repository:
    """A folder with tests that are run by a pytest of its own."""

    TWO_TURNS = """
def test_talk(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    voiceloop_simulator.say("long.wav", text="A long story.")
"""
    PATIENT = """
from pytest_voiceloop.call import assess, machine

# The machine that runs these tests may be too busy to time anything; what is tested is the rest.
assess.VOID_LATENESS_MS = 10_000
machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100
"""
    until = staticmethod(until)
    speech = staticmethod(speech)
    write_clip = staticmethod(write_clip)

    def __init__(self, pytester, schema_problems):
        self.pytester = pytester
        self.schema_problems = schema_problems
        self.path = Path(pytester.path)
        self.stack()
        write_clip(self.path / "clip.wav", speech())
        self.corpus()

    def stack(self, then="pass", void_ms=10_000, **options):
        """Write the conftest: a scripted stack with these command-line options; `then` is a line on `spec`."""
        (self.path / "conftest.py").write_text(CONFTEST.format(options=options, then=then, void_ms=void_ms))

    def corpus(self, folder="corpus", **changes):
        """Write a corpus of two short utterances. A change to None takes the key out of the manifest."""
        write_clip(self.path / folder / "one.wav", speech())
        write_clip(self.path / folder / "two.wav", speech(seed=8))
        utterances = [
            {"id": "one", "file": "one.wav", "text": "The first one."},
            {"id": "two", "file": "two.wav", "text": "And the second."},
        ]
        manifest = {"name": "tiny", "synthetic": True, "utterances": utterances} | changes
        kept = {key: value for key, value in manifest.items() if value is not None}
        (self.path / folder / "manifest.json").write_text(json.dumps(kept))
        return utterances

    def tests(self, source, name="test_voice"):
        """Write a file of tests."""
        return self.pytester.makepyfile(**{name: source})

    def run(self, *arguments, deadline_s=2 * DEADLINE_S):
        """Run pytest in a process of its own, which is ended at the deadline."""
        return self.pytester.runpytest_subprocess(*QUIET_PLUGINS, *arguments, timeout=deadline_s)

    def check(self, *arguments):
        """Run pytest in this process: much quicker, for what never boots a stack."""
        return self.pytester.runpytest_inprocess(*QUIET_PLUGINS, *arguments)

    def start(self, *arguments, **how):
        """Start pytest and go on; what it says goes to `said`. `how` is for Popen."""
        with (self.path / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", AS_FROM_A_TERMINAL, *QUIET_PLUGINS, *arguments],
                stdout=said,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C would reach this very test run too.
                start_new_session=True,
                **how,
            )

    def start_in_the_second_turn(self, *arguments):
        """Start pytest on a test of two turns, and return when the first is measured and the second under way."""
        self.write_clip(self.path / "long.wav", self.speech(duration_s=20))
        self.tests(self.TWO_TURNS)
        run = self.start(*arguments)
        try:
            self.until(
                lambda: any(SECOND_JUDGE in log.read_text() for log in self.found("run-*/logs/*/whisper.log")),
                "the second turn",
            )
        except BaseException:
            run.kill()
            raise
        return run

    @property
    def said(self):
        return (self.path / "said.txt").read_text()

    @property
    def results(self):
        return self.path / "voiceloop-results"

    @property
    def document(self):
        """The run's run.json, which is as the published schema has it."""
        return self.documented(self.results / "run.json")

    def documented(self, path):
        """A run's JSON; every key in it has to be documented."""
        document = json.loads(path.read_text())
        assert self.schema_problems(document) == []
        return document

    @property
    def records(self):
        """The records of the run's tests by the tests' names."""
        return {test["nodeid"].partition("::")[2]: test for test in self.document["tests"]}

    def found(self, pattern):
        """What the results folder holds of a name."""
        return sorted(self.results.glob(pattern))

    def processes(self):
        """What still runs of the stacks that were booted here: shims and services have a log of this folder open."""
        here = str(self.results)
        found = []
        for process in psutil.process_iter():
            # One that ends while it is looked at is none, and neither is a zombie.
            with contextlib.suppress(psutil.Error):
                if any(file.path.startswith(here) for file in process.open_files()):
                    found.append(process.pid)
        return found


@pytest.fixture
def repository(pytester, monkeypatch, schema_problems):
    for name in [name for name in os.environ if name.startswith("VOICELOOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    made = Repository(pytester, schema_problems)
    yield made
    # Also those that no test looked into.
    for path in made.path.glob("**/run.json"):
        made.documented(path)


@pytest.fixture
def two_clips(repository):
    """A repository with clip.wav and long.wav, whose replies sound different: kokoro's tone is as long as the text.

    Whisper hears one "la" per 100 ms of sound.
    """
    repository.stack(whisper=["--script-text", "{la}"])
    repository.write_clip(repository.path / "long.wav", repository.speech(duration_s=1.1))
    return repository
