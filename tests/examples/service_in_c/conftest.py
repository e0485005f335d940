"""The reference stack with one service of our own, which is compiled when the tests begin."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_voiceloop.stack.reference import reference_stack

SOURCE = Path(__file__).with_name("echo_llm.c")


@pytest.fixture(scope="session")
def echo_llm(tmp_path_factory):
    """The program."""
    compiler = shutil.which("cc") or pytest.fail("there is no C compiler; install gcc")
    program = tmp_path_factory.mktemp("built") / "echo_llm"
    subprocess.run([compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    return program


@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace, echo_llm):
    spec = reference_stack(voiceloop_pace)
    ours = (str(echo_llm), "{llama.listen}", "{kokoro.listen}")
    services = [
        dataclasses.replace(service, command=ours) if service.name == "llama" else service for service in spec.services
    ]
    return dataclasses.replace(spec, services=tuple(services))
