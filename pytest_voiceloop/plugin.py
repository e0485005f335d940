"""pytest's hooks, each a few lines. Importing this costs next to nothing; what is heavy waits until a test needs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_voiceloop import settings
from pytest_voiceloop.fixtures import *  # noqa: F403 (the fixtures are the plugin's; fixtures.__all__ lists them)
from pytest_voiceloop.run import BUDGETS, FAULTS, MEASURED, PLACE, RUN, Collector, Measured, new_run

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_voiceloop.run import Say

BOOT_AND_TURNS_TIMEOUT_S = 120
UNUSABLE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--voiceloop-…`` and their ini twins."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and read the settings: a bad value stops the run before anything is booted."""
    for description in (
        "pipeline: speaks with a whole voice stack; run these tests with -m pipeline",
        'latency(total="2s", stt="500ms", ..., percentile=95): fail the test when a stage or total takes longer',
        'fault("reset", "llm_tts", item=2): do this to the stack on purpose in each turn of the test',
        "quality(transcript_wer=0.2, loop_wer=0.1, cut_off_rate=0.02): fail the test when more words are lost",
    ):
        config.addinivalue_line("markers", description)
    worker_input = getattr(config, "workerinput", {})
    run = new_run(
        settings.read(config), worker_input.get("workerid", ""), worker_input.get("voiceloop_run"), _say(config)
    )
    if run.settings.ports == "fixed" and (getattr(config.option, "numprocesses", None) or run.worker):
        raise pytest.UsageError("--voiceloop-ports=fixed: two workers cannot share one plan; leave out -n, or use auto")
    config.stash[RUN] = run
    config.pluginmanager.register(Collector(run), "voiceloop-collector")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give xdist's workers the run's id, so that all write into one folder."""
    node.workerinput["voiceloop_run"] = node.config.stash[RUN].id


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `voiceloop_utterance` once for each utterance of the corpus."""
    definitions = metafunc._arg2fixturedefs.get("voiceloop_utterance", ())  # noqa: SLF001 (no public way to see an override)
    if not definitions or definitions[-1].func.__module__ != "pytest_voiceloop.fixtures":
        return
    from pytest_voiceloop.call.corpus import CorpusError
    from pytest_voiceloop.fixtures import selected_corpus

    try:
        corpus = selected_corpus(metafunc.config.stash[RUN])
    except CorpusError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    metafunc.parametrize("voiceloop_utterance", list(corpus), ids=str, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the budgets of our own tests, and give those without a time limit one that leaves the boot out."""
    limited = not config.pluginmanager.hasplugin("timeout") or _has_global_timeout(config)
    looked_at = False
    for item in items:
        if not _is_ours(item):
            continue
        from pytest_voiceloop import markers

        try:
            if not looked_at:
                settings.profile(config, config.stash[RUN].settings)
                looked_at = True
            item.stash[BUDGETS] = markers.parse(item)
            markers.check_pace(item.stash[BUDGETS], _pace(item))
            markers.faults_of(item)
        except pytest.UsageError as error:
            if not config.stash[RUN].worker:
                raise
            # What a worker of xdist raises here is lost; its test can still say it.
            item.stash[UNUSABLE] = str(error)
        if not limited and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(BOOT_AND_TURNS_TIMEOUT_S, func_only=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Number the tests that say the corpus, one utterance each, for live progress."""
    alike: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        if "voiceloop_utterance" in getattr(item, "fixturenames", ()):
            alike.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for those in alike.values():
        for number, item in enumerate(those, start=1):
            item.stash[PLACE] = (number, len(those))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin with nothing measured: a test that is run again must not be judged by its first try."""
    if UNUSABLE in item.stash:
        pytest.fail(item.stash[UNUSABLE], pytrace=False)
    if BUDGETS in item.stash:
        item.stash[MEASURED] = Measured()
        if FAULTS in item.stash:
            del item.stash[FAULTS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the budgets after a test that passed, so that a miss is FAILED, and xfail holds."""
    result = yield
    if MEASURED in item.stash:
        from pytest_voiceloop import results

        results.enforce(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what was measured on the report: it travels to xdist's controller as JSON."""
    report = yield
    if MEASURED in item.stash and (call.when == "call" or report.outcome != "passed"):
        from pytest_voiceloop import results

        results.attach(item, report)
    return report


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Have the reports written before pytest-timeout's method ``thread`` ends pytest on the spot."""
    run = item.config.stash[RUN]
    # A worker of xdist has a controller, which outlives it and writes.
    if BUDGETS not in item.stash or settings.method != "thread" or run.worker:
        return None
    import contextlib
    import threading

    ending: Any = item.config.pluginmanager.get_plugin("timeout")

    def run_out() -> None:
        from pytest_voiceloop import results

        # Whatever goes wrong here, the test's time is over; and the journal is kept.
        with contextlib.suppress(Exception):
            results.write(run, in_mid_turn=True)
        ending.timeout_timer(item, settings)

    timer = threading.Timer(settings.timeout, run_out)

    def cancel() -> None:
        timer.cancel()
        timer.join()

    # This is how pytest-timeout stops a timer, its own ones too.
    item.cancel_timeout = cancel  # type: ignore[attr-defined]
    timer.start()
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write run.json and the reports that were asked for, however the run ended."""
    run = session.config.stash[RUN]
    if not run.worker and (run.records or run.journal.exists()):
        from pytest_voiceloop import results

        results.write(run)
        if results.failed(run) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured."""
    run = config.stash[RUN]
    if run.document is not None:
        from pytest_voiceloop import results

        results.show(terminalreporter, run)


def _is_ours(item: pytest.Item) -> bool:
    # "pipeline" and "latency" are common words: a marker alone does not make a test ours.
    info = getattr(item, "_fixtureinfo", None)
    # Fixtures made by our factories have names of their users' choice.
    made = (d[-1].func.__module__ for d in info.name2fixturedefs.values()) if info else ()
    return any(name.startswith("voiceloop_") for name in getattr(item, "fixturenames", ())) or (
        "pytest_voiceloop.factories" in made
    )


def _pace(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    pace: str = (callspec.params if callspec else {}).get("voiceloop_pace", item.config.stash[RUN].settings.pace)
    return pace


def _has_global_timeout(config: pytest.Config) -> bool:
    return bool(config.getoption("timeout", None) or config.getini("timeout") or os.environ.get("PYTEST_TIMEOUT"))


def _say(config: pytest.Config) -> Say:
    def say(text: str, **markup: bool) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        capture = config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or reporter.verbosity < 0 or hasattr(config, "workerinput"):
            return
        import contextlib

        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            # Not through the reporter, which would name the test's file anew after each of our lines.
            writer = config.get_terminal_writer()
            if writer.width_of_current_line:
                writer.line()
            writer.line(text, **markup)

    return say
