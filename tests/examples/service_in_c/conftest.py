"""Compiles our service before the stack is looked at."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILE = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", "echo_llm", "echo_llm.c")


def pytest_configure():
    try:
        subprocess.run(COMPILE, cwd=HERE, check=True)
    except FileNotFoundError:
        raise pytest.UsageError("there is no C compiler called cc; install gcc") from None
