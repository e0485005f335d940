"""Makes fixtures for stacks and services of your own; assign what they return to a name in a conftest.

from pytest_voiceloop import factories

my_stack = factories.stack(lambda pace: reference_stack(pace).with_service(my_llm))
my_caller = factories.simulator("my_stack")
tts = factories.service("kokoro", ["kokoro-server", "--port", "{kokoro.http.port}"], protocol="openai-speech")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_voiceloop.fixtures import booted, simulated
from pytest_voiceloop.run import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_voiceloop.call.alone import ServerAlone
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.simulator import Simulator
    from pytest_voiceloop.stack.spec import Pace, Port, Ready, StackSpec

Spec = Callable[["Pace"], "StackSpec"]
Scope = Literal["session", "package", "module", "class", "function"]


def stack(spec: StackSpec | Spec, *, scope: Scope = "session") -> Any:
    """A fixture that boots a stack and gives its `LiveStack`. A function gets the run's pace and returns the spec."""

    @pytest.fixture(scope=scope)
    def voiceloop_made_stack(pytestconfig: pytest.Config, voiceloop_pace: Pace) -> Iterator[LiveStack]:
        made = spec(voiceloop_pace) if callable(spec) else spec
        with booted(pytestconfig.stash[RUN], made, "stack") as live:
            yield live

    return voiceloop_made_stack


def simulator(stack: str) -> Any:
    """A fixture that calls the stack which the fixture of that name boots, as `voiceloop_simulator` calls its own."""

    @pytest.fixture
    def voiceloop_made_simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
        with simulated(request, request.getfixturevalue(stack)) as made:
            yield made

    return voiceloop_made_simulator


def service(
    name: str,
    command: Sequence[str],
    *,
    protocol: str,
    ports: Mapping[str, Port] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ready: Ready | None = None,
    cold_start_s: float = 120.0,
    model: str = "",
    scope: Scope = "session",
) -> Any:
    """A fixture that boots one server alone and gives a `ServerAlone`, which asks it through a tap.

    `protocol` is what it speaks at the first of its `ports` (one called ``http`` where none are given):
    ``openai-transcription``, ``openai-chat``, ``openai-speech`` or ``wyoming``. `model` is what an OpenAI server is
    asked for. A command without words is a server that runs already, at the host of its port.
    """

    @pytest.fixture(scope=scope)
    def voiceloop_made_service(pytestconfig: pytest.Config) -> Iterator[ServerAlone]:
        from pytest_voiceloop.call.alone import ServerAlone
        from pytest_voiceloop.stack.spec import CALLER, Link, Port, Ready, Service, StackSpec

        declared = dict(ports or {"http": Port()})
        one = Service(name, tuple(command), declared, env or {}, cwd, cold_start_s, ready=ready or Ready())
        link = Link("stt_llm", CALLER, name, next(iter(declared)), protocol)
        with booted(pytestconfig.stash[RUN], StackSpec((one,), (link,), {}), name) as live:
            yield ServerAlone(live, link, model)

    return voiceloop_made_service
