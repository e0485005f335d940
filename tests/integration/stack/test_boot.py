"""A stack boots when every service has said that it is ready; whatever else happens, nothing stays behind."""

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_services import FOREVER, READY, alive, descriptors, fake, pid_of, until

from pytest_voiceloop.stack.boot import RunningStack, boot
from pytest_voiceloop.stack.process import MissingPrerequisiteError, StackError, spawn
from pytest_voiceloop.stack.readiness import wait_ready
from pytest_voiceloop.stack.spec import Port, Service, StackSpec


def spec(*services: Service) -> StackSpec:
    return StackSpec(services, (), {})


def booted(folder: Path, source: str, **fields: Any) -> RunningStack:
    """What a stack of one service was; it is over when this returns."""
    with boot(spec(fake(folder, "alpha", source, **fields)), folder / "logs") as running:
        return running


def booted_from(folder: Path, *services: Service) -> None:
    with boot(spec(*services), folder / "logs"):
        pass


def refused(folder: Path, source: str, error: type[Exception] = StackError, **fields: Any) -> str:
    with pytest.raises(error) as caught, boot(spec(fake(folder, "alpha", source, **fields)), folder / "logs"):
        pass
    return str(caught.value)


# --- ready


@pytest.mark.parametrize(
    "garbage",
    [
        "print('Loading weights ...')",
        "import sys; sys.stdout.buffer.write(bytes(range(256)) + b'\\n')",
        "print('{not json}'); print('{\"level\": 30}'); print('[1, 2]'); print('{\"ready\": false}')",
        "print('\\r 10 %\\r100 %', end='\\r')",
        "print('100 %', end=' ')",
        "print('x' * 3_000_000)",
    ],
)
def test_a_ready_line_is_found_among_garbage(garbage: str, tmp_path: Path) -> None:
    assert booted(tmp_path, garbage + "\n" + READY + FOREVER).processes[0].facts["engine"] == "none"


def test_a_ready_line_that_comes_in_pieces_is_found(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = (
        "import os, sys, time\nprint('{\"ready\": \"fa', end='', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(.01)\nprint('ke\"}}', flush=True)\n"
    )
    log = tmp_path / "logs" / "alpha.log"

    def open_the_gate() -> None:
        until(lambda: log.exists() and b"ready" in log.read_bytes())
        gate.touch()

    opener = threading.Thread(target=open_the_gate)
    opener.start()
    assert booted(tmp_path, source + FOREVER).processes[0].facts == {"ready": "fake"}
    opener.join()


def test_a_ready_line_on_standard_error_counts_too(tmp_path: Path) -> None:
    source = "import json, sys; print(json.dumps({'ready': 'fake'}), file=sys.stderr)\n"
    assert booted(tmp_path, source + FOREVER).processes[0].facts == {"ready": "fake"}


def test_the_cold_start_is_measured(tmp_path: Path) -> None:
    assert booted(tmp_path, READY + FOREVER).processes[0].cold_start_ms > 0


def test_progress_names_every_service(tmp_path: Path) -> None:
    said: list[str] = []
    services = [fake(tmp_path, name, READY + FOREVER) for name in ("alpha", "beta")]
    with boot(spec(*services), tmp_path, progress=said.append):
        pass
    assert all(any(name in line for line in said) for name in ("alpha", "beta"))


def test_addresses_are_filled_into_command_and_environment(tmp_path: Path) -> None:
    source = "import os, sys; print(sys.argv[1], os.environ['TELL'])\n" + READY + FOREVER
    service = fake(tmp_path, "alpha", source, ports={"listen": Port("tcp", 1)}, env={"TELL": "{alpha.listen}"})
    service = replace(service, command=(*service.command, "{alpha.listen}"))
    with boot(spec(service), tmp_path) as running:
        address = f"127.0.0.1:{running.addresses.bind['alpha', 'listen']}"
        assert running.processes[0].log_tail().splitlines()[0] == f"{address} {address}"


def test_a_service_runs_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    source = "import os; print(os.getcwd())\n" + READY + FOREVER
    running = booted(tmp_path, source, cwd=tmp_path / "elsewhere")
    assert running.processes[0].log_tail().splitlines()[0] == str(tmp_path / "elsewhere")


# --- not ready


def test_never_ready_is_said_with_the_end_of_the_log(tmp_path: Path) -> None:
    message = refused(tmp_path, "print('still loading', flush=True)\n" + FOREVER, cold_start_s=1.0)
    assert "alpha printed no ready line within 1 s" in message
    assert "still loading" in message
    assert str(tmp_path / "logs" / "alpha.log") in message


def test_an_exit_at_once_is_said_with_code_command_and_log(tmp_path: Path) -> None:
    message = refused(tmp_path, "import sys; print('no such weights'); sys.exit(3)")
    assert "alpha ended before it was ready: exit code 3" in message
    assert "no such weights" in message
    assert "alpha.py" in message


def test_an_exit_without_a_word(tmp_path: Path) -> None:
    assert "(the log is empty)" in refused(tmp_path, "")


def test_an_exit_right_after_the_ready_line_is_no_boot(tmp_path: Path) -> None:
    command = ["sh", "-c", """echo '{"ready": "alpha"}'; exit 4"""]
    process = spawn("alpha", command, tmp_path / "alpha.log", env={}, cwd=None, grace_s=1.0)
    until(lambda: process.popen.poll() is not None)
    with pytest.raises(StackError, match="alpha died: exit code 4"):
        wait_ready(process, Service("alpha", (), {}))
    process.stop()


def test_while_one_is_awaited_the_others_can_be_looked_after(tmp_path: Path) -> None:
    process = spawn("alpha", ["sleep", "60"], tmp_path / "alpha.log", env={}, cwd=None, grace_s=1.0)

    def another_died() -> None:
        raise StackError("another died")

    with pytest.raises(StackError, match="another died"):
        wait_ready(process, Service("alpha", (), {}), meanwhile=another_died)
    process.stop()


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (
            "no-such-command",
            "'no-such-command' is not on PATH; install it, or give its path (./no-such-command is looked",
        ),
        ("./server", "{folder}/server does not exist; build it, or correct the command"),
        ("./notes", "{folder}/notes is not executable; chmod +x it, or begin the command with its interpreter"),
    ],
)
def test_a_command_that_is_none(command: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    service = Service("alpha", (command,), {}, cwd=tmp_path, source="voiceloop.toml:3: services.alpha")
    with pytest.raises(StackError) as caught, boot(spec(service), tmp_path / "logs"):
        pass
    assert str(caught.value).startswith("voiceloop.toml:3: services.alpha.command: " + wanted.format(folder=tmp_path))


def test_a_command_that_no_kernel_starts(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and no more")
    program.chmod(0o755)
    with pytest.raises(StackError, match="exit code 127") as caught:
        booted_from(tmp_path, Service("alpha", (str(program),), {}))
    assert "Exec format error" in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    message = refused(tmp_path, READY, cwd=tmp_path / "nowhere")
    assert message == f"the cwd of alpha: {tmp_path / 'nowhere'} is no folder; correct it, or make the folder"


MISSING = "import json, os, time; print(json.dumps({'missing': 'the model x', 'cure': 'fetch x'}), flush=True)\n"


@pytest.mark.parametrize("teardown", ["", "time.sleep(0.3)\n"], ids=["at once", "after a while"])
def test_exit_69_is_a_missing_prerequisite_with_its_cure(teardown: str, tmp_path: Path) -> None:
    message = refused(tmp_path, MISSING + teardown + "os._exit(69)", MissingPrerequisiteError)
    assert message == "alpha needs the model x. Cure: fetch x"


def test_exit_69_without_a_word_is_an_error(tmp_path: Path) -> None:
    assert "exit code 69" in refused(tmp_path, "os._exit(69)")


def test_a_missing_line_with_another_exit_code_is_an_error(tmp_path: Path) -> None:
    assert "exit code 1" in refused(tmp_path, MISSING + "os._exit(1)")


# --- what is left


def test_nothing_runs_after_the_context(tmp_path: Path) -> None:
    booted(tmp_path, READY + FOREVER)
    assert not alive(pid_of(tmp_path, "alpha"))


def test_a_boot_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    services = [
        fake(tmp_path, "alpha", READY + FOREVER),
        fake(
            tmp_path, "beta", f"import time\nwhile not os.path.exists({str(tmp_path / 'alpha.pid')!r}): time.sleep(.01)"
        ),
        fake(tmp_path, "gamma", FOREVER),
    ]
    with pytest.raises(StackError, match="beta ended before"), boot(spec(*services), tmp_path):
        pass
    assert not alive(pid_of(tmp_path, "alpha"))
    assert [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"] == []
    assert descriptors() == before


def test_a_spawn_that_fails_ends_what_was_spawned_before(tmp_path: Path) -> None:
    services = [fake(tmp_path, "alpha", READY + FOREVER), fake(tmp_path, "beta", READY, cwd=tmp_path / "nowhere")]
    with pytest.raises(StackError, match=r"the cwd of beta: .* is no folder"), boot(spec(*services), tmp_path):
        pass
    assert [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"] == []


def test_an_error_in_the_context_ends_the_stack(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), boot(spec(fake(tmp_path, "alpha", READY + FOREVER)), tmp_path):
        raise KeyboardInterrupt
    assert not alive(pid_of(tmp_path, "alpha"))


def test_a_service_that_dies_later_is_reported_with_its_log(tmp_path: Path) -> None:
    source = READY + "import signal\nsignal.sigwait([10]); print('out of memory', flush=True); os._exit(9)"
    source = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10])\n" + source
    with boot(spec(fake(tmp_path, "alpha", source)), tmp_path) as running:
        running.check()
        psutil.Process(pid_of(tmp_path, "alpha")).send_signal(10)
        until(lambda: running.processes[0].popen.poll() is not None)
        with pytest.raises(StackError, match="alpha died: exit code 9") as caught:
            running.check()
    assert "out of memory" in str(caught.value)


def test_what_died_is_started_again_at_its_old_address(tmp_path: Path) -> None:
    services = [fake(tmp_path, name, READY + FOREVER) for name in ("alpha", "beta")]
    with boot(spec(*services), tmp_path / "logs") as running:
        first = {name: pid_of(tmp_path, name) for name in ("alpha", "beta")}
        psutil.Process(first["alpha"]).kill()
        until(lambda: running.processes[0].popen.poll() is not None)
        running.restart_dead()
        running.check()
        assert running.restarts == ["alpha"]
        assert pid_of(tmp_path, "alpha") != first["alpha"]
        assert pid_of(tmp_path, "beta") == first["beta"]


def test_what_is_down_on_purpose_stays_down_once_that_is_abandoned(tmp_path: Path) -> None:
    abandoned = threading.Event()
    abandoned.set()
    with boot(spec(fake(tmp_path, "alpha", READY + FOREVER)), tmp_path / "logs") as running:
        running.restart("alpha", signal.SIGKILL, 600.0, abandoned)
        until(lambda: not alive(pid_of(tmp_path, "alpha")))
        assert not running.is_up("alpha")
        assert not (tmp_path / "logs" / "alpha-2.log").exists()
        # It has not died: there is nobody to blame.
        running.check()
        running.restart_dead()
        running.check()
        assert running.is_up("alpha")
        assert running.restarts == []
        running.restart_dead()
        assert [process.log.name for process in running.processes] == ["alpha-2.log"]


def test_a_cold_start_that_is_abandoned_is_not_waited_for(tmp_path: Path) -> None:
    abandoned, gate = threading.Event(), tmp_path / "gate"
    source = f"if os.path.exists({str(gate)!r}):\n    print('loading', flush=True)\n    time.sleep(3600)\n"
    source = "import os, time\n" + source + READY + FOREVER
    with boot(spec(fake(tmp_path, "alpha", source, cold_start_s=600.0)), tmp_path / "logs") as running:
        gate.touch()
        again = threading.Thread(target=running.restart, args=("alpha", signal.SIGKILL, 0.0, abandoned))
        again.start()
        log = tmp_path / "logs" / "alpha-2.log"
        until(lambda: log.exists() and "loading" in log.read_text())
        abandoned.set()
        again.join(60)
        assert not again.is_alive()
        until(lambda: not alive(pid_of(tmp_path, "alpha")))
        assert not running.is_up("alpha")
        gate.unlink()
        running.restart_dead()
        assert running.is_up("alpha")
        assert running.restarts == []


# --- a port that another program took in the meantime

TAKEN = (
    "import pathlib\nmark = pathlib.Path({mark!r})\nmark.write_text(mark.read_text() + 'x' if mark.exists() else 'x')\n"
)
IN_USE = "raise OSError(98, 'cannot bind 127.0.0.1:1: Address already in use')\n"


def test_an_address_in_use_is_tried_once_more(tmp_path: Path) -> None:
    mark = tmp_path / "tries"
    source = TAKEN.format(mark=str(mark)) + "if mark.read_text() == 'x': " + IN_USE + READY + FOREVER
    said: list[str] = []
    with boot(spec(fake(tmp_path, "alpha", source)), tmp_path, progress=said.append) as running:
        running.check()
    assert mark.read_text() == "xx"
    assert any("booting once more" in line for line in said)


def test_an_address_in_use_twice_is_an_error(tmp_path: Path) -> None:
    mark = tmp_path / "tries"
    assert "already in use" in refused(tmp_path, TAKEN.format(mark=str(mark)) + IN_USE)
    assert mark.read_text() == "xx"


def test_another_error_is_not_tried_again(tmp_path: Path) -> None:
    mark = tmp_path / "tries"
    refused(tmp_path, TAKEN.format(mark=str(mark)) + "raise OSError('no such model')\n")
    assert mark.read_text() == "x"
