"""Somebody else: elsewhere a container or a colleague, here a fixture."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, str(Path(__file__).with_name("parrot.py")), "127.0.0.1:8765")


@pytest.fixture(scope="session", autouse=True)
def parrot():
    """The agent, which outlives the stack."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        yield
        assert process.poll() is None
        process.terminate()
