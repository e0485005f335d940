"""Whatever happens to the harness or to the service, nothing outlives it. Real processes, killed in real ways."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_services import FOREVER, READY, alive, fake, pid_of, script, until

from pytest_voiceloop.stack.process import Process, spawn

Run = Callable[..., Process]

# A harness that starts one service and waits: what the tests kill.
HARNESS = """
import os, pathlib, signal, sys
from pytest_voiceloop.stack.process import spawn
from pytest_voiceloop.stack.readiness import wait_ready
from pytest_voiceloop.stack.spec import Service
service = spawn("fake", sys.argv[2:], pathlib.Path(sys.argv[1]), env={}, cwd=None, grace_s=60)
print("spawned", flush=True)
"""
FAMILY = {
    "the child": "",
    "a grandchild": "if os.fork() == 0: tell()\n",
    "one in a session of its own": "if os.fork() == 0: os.setsid(); tell()\n",
    "a daemon": "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    tell()\n",
    "one that ignores SIGTERM": "if os.fork() == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    tell()\n",
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a command under the shim; it is ended with the test."""
    started: list[Process] = []

    def start(
        *command: str, env: dict[str, str] | None = None, grace_s: float = 2.0, stop_signal: str = "SIGTERM"
    ) -> Process:
        log = tmp_path / "fake.log"
        started.append(spawn("fake", command, log, env=env or {}, cwd=None, grace_s=grace_s, stop_signal=stop_signal))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *command: str) -> subprocess.Popen[str]:
        popen = subprocess.Popen(
            [sys.executable, "-c", HARNESS + source, str(tmp_path / "fake.log"), *command],
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        started.append(popen)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "spawned\n"
        return popen

    yield start
    for popen in started:
        popen.kill()
        popen.communicate()


def python(folder: Path, source: str) -> list[str]:
    made = fake(folder, "child", source)
    return [sys.executable, *made.command[1:]]


# --- the harness goes


@pytest.mark.parametrize("member", FAMILY)
def test_kill_9_of_the_harness_ends(member: str, tmp_path: Path, harness) -> None:
    tell = (
        f"import os, signal\ndef tell():\n    open({str(tmp_path / 'x')!r}, 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(tmp_path / 'x')!r}, {str(tmp_path / 'member.pid')!r})\n    while True: signal.pause()\n"
    )
    popen = harness("signal.pause()", *python(tmp_path, tell + (FAMILY[member] or "tell()\n") + FOREVER))
    child, pid = pid_of(tmp_path, "child"), pid_of(tmp_path, "member")
    before = time.monotonic()
    popen.kill()
    until(lambda: not alive(pid) and not alive(child))
    gone_after_s = time.monotonic() - before
    print(f"gone after {gone_after_s:.2f} s")
    assert gone_after_s < 5


def test_a_forked_copy_of_the_harness_does_not_keep_the_service(tmp_path: Path, harness) -> None:
    popen = harness("copy = os.fork()\nif copy: print(copy, flush=True)\nsignal.pause()", *python(tmp_path, FOREVER))
    copy, child = int(popen.stdout.readline()), pid_of(tmp_path, "child")
    try:
        popen.kill()
        until(lambda: not alive(child))
    finally:
        os.kill(copy, signal.SIGKILL)


def test_a_harness_that_dies_while_it_stops_a_service_is_not_waited_for(tmp_path: Path, harness) -> None:
    mark = tmp_path / "asked"
    stubborn = f"import signal, pathlib\nsignal.signal(15, lambda *_: pathlib.Path({str(mark)!r}).touch())\n" + READY
    log = tmp_path / "fake.log"
    popen = harness(
        "wait_ready(service, Service('fake', (), {}))\nservice.stop()",
        *python(tmp_path, stubborn + FOREVER),
    )
    child = pid_of(tmp_path, "child")
    until(mark.exists)
    popen.kill()
    # Its grace is a minute.
    until(lambda: not alive(child))
    assert "ready" in log.read_text()


def test_ctrl_c_reaches_the_harness_first(tmp_path: Path, harness) -> None:
    seen = tmp_path / "seen"
    note = f"lambda n, _: (open({str(seen)!r}, 'a').write(f'{{n}} '), n == 15 and os._exit(0))"
    service = f"import os, signal\nfor n in (2, 15): signal.signal(n, {note})\n" + READY + FOREVER
    popen = harness(
        # A shell that starts its job in the background has SIGINT ignored, and so has everything below it.
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    wait_ready(service, Service('fake', (), {})); print('ready', flush=True)\n"
        "    while True: time.sleep(0.05)\n"
        "except KeyboardInterrupt:\n    service.check(); service.stop()\n",
        *python(tmp_path, service),
    )
    assert popen.stdout.readline() == "ready\n"
    os.killpg(popen.pid, signal.SIGINT)
    popen.wait(20)
    assert seen.read_text() == "15 "


# --- the shim goes


def test_kill_9_of_the_shim_ends_the_service(tmp_path: Path, run: Run) -> None:
    process = run(*python(tmp_path, FOREVER))
    child = pid_of(tmp_path, "child")
    process.popen.kill()
    until(lambda: not alive(child))


# --- the harness stops a service


def test_a_stopped_service_may_clean_up(tmp_path: Path, run: Run) -> None:
    mark = tmp_path / "cleaned"
    source = f"import signal, sys\ndef end(*_):\n    open({str(mark)!r}, 'w').close(); sys.exit(5)\n"
    process = run(*python(tmp_path, source + "signal.signal(15, end)\n" + READY + FOREVER))
    until(lambda: "ready" in process.log.read_text())
    process.stop()
    assert mark.exists()
    assert process.popen.returncode == 5


@pytest.mark.parametrize("stop_signal", ["SIGINT", "SIGQUIT", "SIGUSR1"])
def test_a_service_is_asked_by_the_signal_that_it_takes(stop_signal: str, tmp_path: Path, run: Run) -> None:
    seen = tmp_path / "seen"
    source = f"import signal, sys\ndef end(n, _):\n    open({str(seen)!r}, 'a').write(f'{{n}} '); sys.exit(0)\n"
    source += "for n in (1, 2, 3, 10, 15): signal.signal(n, end)\n"
    process = run(*python(tmp_path, source + READY + FOREVER), stop_signal=stop_signal)
    until(lambda: "ready" in process.log.read_text())
    process.stop()
    assert seen.read_text() == f"{signal.Signals[stop_signal].value} "


def test_a_service_that_ignores_its_signal_is_killed_after_its_grace(tmp_path: Path, run: Run) -> None:
    process = run(
        *python(tmp_path, "import signal\nsignal.signal(2, signal.SIG_IGN)\n" + READY + FOREVER),
        grace_s=0.2,
        stop_signal="SIGINT",
    )
    until(lambda: "ready" in process.log.read_text())
    process.stop()
    assert process.popen.returncode == 128 + signal.SIGKILL


def test_a_service_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path, run: Run) -> None:
    process = run(
        *python(tmp_path, "import signal\nsignal.signal(15, signal.SIG_IGN)\n" + READY + FOREVER), grace_s=0.2
    )
    until(lambda: "ready" in process.log.read_text())
    process.stop()
    assert process.popen.returncode == 128 + signal.SIGKILL


def test_a_shim_that_does_not_answer_is_killed_with_its_group(tmp_path: Path, run: Run) -> None:
    mark = tmp_path / "grandchild"
    source = f"import os\nif (pid := os.fork()): open({str(mark)!r}, 'w').write(str(pid))\n" + READY + FOREVER
    process = run(*python(tmp_path, source), grace_s=0.0)
    until(lambda: "ready" in process.log.read_text())
    process.popen.send_signal(signal.SIGSTOP)
    process.stop()
    until(lambda: not alive(int(mark.read_text())) and not alive(pid_of(tmp_path, "child")))


def test_stopping_twice_is_stopping_once(tmp_path: Path, run: Run) -> None:
    process = run(*python(tmp_path, FOREVER))
    process.stop()
    # Had the second call closed the same number again, this would be what it closes.
    with (tmp_path / "innocent").open("w") as innocent:
        process.stop()
        innocent.write("still open")


def test_stopping_a_service_that_has_ended(tmp_path: Path, run: Run) -> None:
    process = run("true")
    process.popen.wait(20)
    process.stop()
    assert process.popen.returncode == 0


# --- the service ends


@pytest.mark.parametrize("code", [0, 3, 69])
def test_an_exit_code_is_passed_on(code: int, run: Run) -> None:
    assert run("sh", "-c", f"exit {code}").popen.wait(20) == code


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "PIPE"])
def test_a_signal_is_passed_on_as_a_shell_does(name: str, run: Run) -> None:
    assert run("sh", "-c", f"kill -{name} $$; echo survived").popen.wait(20) == 128 + signal.Signals[f"SIG{name}"]


def test_a_command_that_is_not_there(run: Run) -> None:
    process = run("voiceloop-no-such-command")
    assert process.popen.wait(20) == 127
    assert process.log_tail() == "voiceloop-no-such-command: No such file or directory"


def test_a_command_that_is_no_program(tmp_path: Path, run: Run) -> None:
    process = run(str(script(tmp_path, "not-executable", "")))
    assert process.popen.wait(20) == 127
    assert "Permission denied" in process.log_tail()


def test_what_a_service_leaves_behind_is_ended(tmp_path: Path, run: Run) -> None:
    source = "import os\nif os.fork() == 0:\n    os.setsid()\n"
    source += f"    open({str(tmp_path / 'x')!r}, 'w').write(str(os.getpid()))\n"
    source += f"    os.rename({str(tmp_path / 'x')!r}, {str(tmp_path / 'left.pid')!r})\n"
    source += "    import signal; signal.pause()\n"
    source += f"import time\nwhile not os.path.exists({str(tmp_path / 'left.pid')!r}): time.sleep(.01)\n"
    assert run(*python(tmp_path, source)).popen.wait(20) == 0
    assert not alive(pid_of(tmp_path, "left"))


# --- what a service is given


def test_standard_input_is_empty(run: Run) -> None:
    process = run("sh", "-c", "readlink /proc/self/fd/0; cat; echo done")
    process.popen.wait(20)
    assert process.log_tail() == "/dev/null\ndone"


def test_no_descriptor_but_the_three_is_passed(run: Run) -> None:
    process = run(sys.executable, "-ISc", "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")
    process.popen.wait(20)
    # The fourth is that of the listing.
    assert json.loads(process.log_tail()) == [0, 1, 2, 3]


def test_the_environment_passes_as_it_is(run: Run) -> None:
    process = run("env", "-0", env={"VOICELOOP_TEST": "two\nlines", "PYTHONPATH": "/nowhere"})
    process.popen.wait(20)
    said = dict(entry.split("=", 1) for entry in process.log.read_text().split("\0") if entry)
    assert said == {**os.environ, "VOICELOOP_TEST": "two\nlines", "PYTHONPATH": "/nowhere"}


def test_fifty_megabytes_of_log_do_not_block(run: Run) -> None:
    process = run("sh", "-c", "yes 'a line of log' | head -c 50000000; echo; echo end")
    assert process.popen.wait(60) == 0
    assert process.log.stat().st_size > 50_000_000
    assert process.log_tail().endswith("end")


def test_opening_standard_output_anew_does_not_overwrite_the_log(run: Run) -> None:
    process = run("sh", "-c", "echo one; echo two >> /dev/stdout; echo three")
    process.popen.wait(20)
    assert process.log_tail() == "one\ntwo\nthree"


def test_what_the_shim_itself_costs(run: Run) -> None:
    def median_ms(start: Callable[[], object]) -> float:
        took = []
        for _ in range(7):
            before = time.perf_counter()
            start()
            took.append(time.perf_counter() - before)
        return sorted(took)[3] * 1e3

    cost_ms = median_ms(lambda: run("true").popen.wait(20)) - median_ms(lambda: subprocess.run(["true"], check=True))
    print(f"the shim costs {cost_ms:.0f} ms")
    assert cost_ms < 2000
