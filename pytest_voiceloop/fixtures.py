"""The fixtures. Everything heavy is imported when the first of them is used."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal

import pytest

from pytest_voiceloop import settings
from pytest_voiceloop.run import BUDGETS, MEASURED, RUN, Measured, undecided

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_voiceloop.call.alone import KokoroAlone, LlamaAlone, OutboundAlone, WhisperAlone
    from pytest_voiceloop.call.corpus import Corpus, Utterance
    from pytest_voiceloop.call.faults import Fault, Faults
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.selftest import SelfTest
    from pytest_voiceloop.call.simulator import Simulator
    from pytest_voiceloop.run import Run
    from pytest_voiceloop.stack.spec import StackSpec


@pytest.fixture(scope="session")
def voiceloop_pace(request: pytest.FixtureRequest) -> Literal["asap", "realtime"]:
    """The reply's pace, ``--voiceloop-pace``. Parametrize it indirectly to run a test at both."""
    pace: Literal["asap", "realtime"] = getattr(request, "param", request.config.stash[RUN].settings.pace)
    return pace


@pytest.fixture(scope="session")
def voiceloop_stack_spec(pytestconfig: pytest.Config, voiceloop_pace: Literal["asap", "realtime"]) -> StackSpec:
    """What to boot: voiceloop.toml's stack, else the reference stack. Override it in a conftest to boot another."""
    from pytest_voiceloop.config import ConfigError
    from pytest_voiceloop.stack.reference import reference_stack

    asked, wrong = pytestconfig.stash[RUN].settings, ""
    try:
        found = settings.configuration(pytestconfig, asked.config)
        spec = found.stack(voiceloop_pace, asked.seed) if found else None
        return spec or reference_stack(voiceloop_pace, seed=asked.seed)
    except ConfigError as error:
        wrong = str(error)
    pytest.fail(wrong, pytrace=False)


@pytest.fixture(scope="session")
def voiceloop_stack(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> Iterator[LiveStack]:
    """The booted stack, shared by the session's tests."""
    from pytest_voiceloop.call.faults import FaultError, slowed
    from pytest_voiceloop.stack.spec import SpecError

    run, spec = pytestconfig.stash[RUN], voiceloop_stack_spec
    standing, wrong = [], ""
    try:
        for service, delay_ms in run.settings.slow.items():
            standing.append(slowed(service, delay_ms, spec))
    except (SpecError, FaultError) as error:
        wrong = f"--voiceloop-slow={service}: {error}"
    if wrong:
        pytest.fail(wrong, pytrace=False)
    with booted(run, spec, f"stack-{spec.pace}", standing=standing) as live:
        yield live


@pytest.fixture(scope="session")
def voiceloop_base_spec(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> StackSpec | None:
    """The version to compare with, turn about: the stack of ``--voiceloop-base``, or None. Override it for another."""
    from pytest_voiceloop.stack.spec import SpecError

    folder, wrong = pytestconfig.stash[RUN].settings.base, ""
    if folder is None:
        return None
    try:
        return voiceloop_stack_spec.of_checkout(folder, pytestconfig.rootpath)
    except SpecError as error:
        wrong = f"--voiceloop-base: {error}"
    pytest.fail(wrong, pytrace=False)


@pytest.fixture(scope="session")
def voiceloop_base_stack(
    pytestconfig: pytest.Config, voiceloop_base_spec: StackSpec | None
) -> Iterator[LiveStack | None]:
    """The booted stack of `voiceloop_base_spec`, beside the other; None without one."""
    if voiceloop_base_spec is None:
        yield None
        return
    with booted(pytestconfig.stash[RUN], voiceloop_base_spec, f"base-{voiceloop_base_spec.pace}", base=True) as live:
        yield live


@pytest.fixture
def voiceloop_simulator(
    request: pytest.FixtureRequest, voiceloop_stack: LiveStack, voiceloop_base_stack: LiveStack | None
) -> Iterator[Simulator]:
    """A caller; the call starts with its first `say` and ends with the test."""
    with simulated(request, voiceloop_stack, voiceloop_base_stack) as simulator:
        yield simulator


@pytest.fixture
def voiceloop_faults(request: pytest.FixtureRequest) -> Faults:
    """What is done to the stack on purpose in this test: `inject(kind, where, …)`, `lift()`, and the marker's."""
    from pytest_voiceloop.markers import faults_of

    return faults_of(request.node)


@pytest.fixture(scope="session")
def voiceloop_corpus(pytestconfig: pytest.Config) -> Corpus:
    """The corpus: ``--voiceloop-corpus``, or the one that comes with the plugin."""
    return selected_corpus(pytestconfig.stash[RUN])


@pytest.fixture
def voiceloop_utterance(request: pytest.FixtureRequest) -> Utterance:
    """One utterance of the corpus; a test that takes it runs once for each."""
    utterance: Utterance = request.param
    return utterance


@pytest.fixture(scope="session")
def voiceloop_whisper(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> Iterator[WhisperAlone]:
    """Whisper by itself; no other model is loaded."""
    from pytest_voiceloop.call.alone import WhisperAlone

    with booted(pytestconfig.stash[RUN], voiceloop_stack_spec.only("whisper"), "whisper") as live:
        yield WhisperAlone(live)


@pytest.fixture(scope="session")
def voiceloop_llama(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> Iterator[LlamaAlone]:
    """Llama by itself; no other model is loaded."""
    from pytest_voiceloop.call.alone import LlamaAlone

    with booted(pytestconfig.stash[RUN], voiceloop_stack_spec.only("llama"), "llama") as live:
        yield LlamaAlone(live)


@pytest.fixture(scope="session")
def voiceloop_kokoro(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> Iterator[KokoroAlone]:
    """Kokoro by itself; no other model is loaded."""
    from pytest_voiceloop.call.alone import KokoroAlone

    with booted(pytestconfig.stash[RUN], voiceloop_stack_spec.only("kokoro"), "kokoro") as live:
        yield KokoroAlone(live)


@pytest.fixture(scope="session")
def voiceloop_outbound(pytestconfig: pytest.Config, voiceloop_stack_spec: StackSpec) -> Iterator[OutboundAlone]:
    """The outbound audio processor by itself; no model is loaded."""
    from pytest_voiceloop.call.alone import OutboundAlone

    with booted(pytestconfig.stash[RUN], voiceloop_stack_spec.only("outbound"), "outbound") as live:
        yield OutboundAlone(live)


@pytest.fixture(scope="session")
def voiceloop_selftest(pytestconfig: pytest.Config) -> SelfTest:
    """How far the harness itself is off on this machine, measured once: `ok`, `error_ms`, `cannot` and so on."""
    from pytest_voiceloop.call.selftest import self_test
    from pytest_voiceloop.stack.ports import PortError
    from pytest_voiceloop.stack.process import StackError

    run = pytestconfig.stash[RUN]
    try:
        return self_test(run.logs("selftest"), progress=lambda text: run.say(f"  self-test · {text}"))
    except (StackError, PortError, OSError) as error:
        wrong = str(error)
    pytest.fail(wrong, pytrace=False)


@contextlib.contextmanager
def simulated(request: pytest.FixtureRequest, live: LiveStack, base: LiveStack | None = None) -> Iterator[Simulator]:
    """A caller on a live stack, whose turns are the test's. What has died since the last test is started again."""
    from pytest_voiceloop.call import replay
    from pytest_voiceloop.call.faults import FaultError, check_all
    from pytest_voiceloop.call.simulator import Simulator, Version
    from pytest_voiceloop.markers import check_pace, faults_of, invisible, parse, with_profile
    from pytest_voiceloop.stack.process import StackError

    run = request.config.stash[RUN]
    item: pytest.Item = request.node
    if MEASURED not in item.stash:
        # Asked for by request.getfixturevalue, which nobody could see at collection.
        item.stash[MEASURED], item.stash[BUDGETS] = Measured(), parse(item)
        check_pace(item.stash[BUDGETS], live.spec.pace)
    # Here, since every test that phones comes by, whatever its fixture is called.
    profile = settings.profile(request.config, run.settings)
    item.stash[BUDGETS] = with_profile(item.stash[BUDGETS], profile, live.spec.pace)
    judged = live.spec.judge.protocol != "none"
    wrong = invisible(item.stash[BUDGETS], live.tapped, judged=judged)
    for version in filter(None, (live, base)):
        if run.scripts and (why := replay.obstacle(version.spec)):
            wrong = f"--voiceloop-replay: {why}{' of the base' if version is base else ''}"
    faults = faults_of(item)
    try:
        check_all(faults.in_force, live.spec)
    except FaultError as error:
        wrong = f"{item.nodeid}: {error}"
    for version in filter(None, (live, base)):
        for process in version.running.processes:
            if process.popen.poll() is not None:
                why = "had been stopped on purpose" if process.name in version.running.down else "had died"
                run.say(f"  {process.name} {why}; starting it again")
        try:
            version.running.restart_dead()
        except StackError as error:
            wrong = str(error)
    if wrong:
        pytest.fail(wrong, pytrace=False)

    simulator = Simulator(
        live,
        trials=run.settings.trials,
        warmup=run.settings.warmup,
        on_turn=lambda turn, capture: run.keep(item, live, turn, capture),
        script=lambda utterance, index: run.scripts.get((utterance, index)),
        faults=faults,
        base=Version(base, lambda *kept: run.keep(item, base, *kept, base=True)) if base else None,
        undecided=lambda: (
            run.settings.inconclusive == "extend" and undecided(run, item.stash[MEASURED], item.stash[BUDGETS])
        ),
        planned=item.stash[MEASURED].plan,
    )
    try:
        yield simulator
    finally:
        simulator.hang_up()


@contextlib.contextmanager
def booted(
    run: Run, spec: StackSpec, name: str, *, base: bool = False, standing: Sequence[Fault] = ()
) -> Iterator[LiveStack]:
    """A live stack with `standing` faults; a missing prerequisite skips, or fails with ``--voiceloop-require``."""
    from pytest_voiceloop.call.live import live_stack
    from pytest_voiceloop.report.journal import append
    from pytest_voiceloop.run import services_json
    from pytest_voiceloop.stack.ports import PortError
    from pytest_voiceloop.stack.process import MissingPrerequisiteError, StackError
    from pytest_voiceloop.stack.spec import SpecError
    from pytest_voiceloop.wire.protocols import ProtocolError

    if spec.scripted:
        _refuse_scripted(run)
    with contextlib.ExitStack() as stack:
        live, broken = None, None
        try:
            logs = run.logs(name)
            run.calibrate("before_ms")
            live = stack.enter_context(
                live_stack(
                    spec,
                    logs,
                    fixed_ports=run.settings.ports == "fixed",
                    progress=lambda text: run.say(
                        f"  {'base · ' if base else ''}{'scripted · ' if spec.scripted else ''}{text}"
                    ),
                    standing=standing,
                )
            )
            for service in services_json(live, base=base):
                append(run.journal, "service", service)
        except (StackError, PortError, SpecError, ProtocolError, OSError) as error:
            broken = error
        # Outside of the except clause, so that the message stands without a trace of how it came about.
        if isinstance(broken, MissingPrerequisiteError) and not run.settings.require:
            pytest.skip(str(broken))
        if live is None or broken:
            pytest.fail(str(broken), pytrace=False)
        # The services are asked too: what says it is scripted is scripted, however it was chosen.
        if "scripted" in {process.facts.get("engine") for process in live.running.processes}:
            _refuse_scripted(run)
        if run.contended:
            # Other workers are no foreign load: they hang on the same controller.
            live.root_pid = os.getppid()
        yield live


def _refuse_scripted(run: Run) -> None:
    if run.settings.require:
        pytest.fail(
            "--voiceloop-require refuses a scripted stack: no model listens, thinks or speaks in it. Leave the option "
            "out, or boot real engines (voiceloop_stack_spec)",
            pytrace=False,
        )


def selected_corpus(run: Run) -> Corpus:
    """The run's corpus. Raises CorpusError."""
    from pytest_voiceloop.call.corpus import default_corpus_folder, load_corpus

    return load_corpus(run.settings.corpus or default_corpus_folder())


__all__ = [
    "voiceloop_base_spec",
    "voiceloop_base_stack",
    "voiceloop_corpus",
    "voiceloop_faults",
    "voiceloop_kokoro",
    "voiceloop_llama",
    "voiceloop_outbound",
    "voiceloop_pace",
    "voiceloop_selftest",
    "voiceloop_simulator",
    "voiceloop_stack",
    "voiceloop_stack_spec",
    "voiceloop_utterance",
    "voiceloop_whisper",
]
