"""Pages of ports are held across processes, and only as long as their holder lives."""

import signal
import subprocess
import sys
from pathlib import Path

from fake_services import FOREVER, until

from pytest_voiceloop.stack import ports
from pytest_voiceloop.stack.ports import allocate
from pytest_voiceloop.stack.reference import reference_stack

CLAIM = """
import contextlib, json, sys
from pytest_voiceloop.stack.ports import allocate
from pytest_voiceloop.stack.reference import reference_stack

spec = reference_stack()
with contextlib.ExitStack() as held:
    made = [held.enter_context(allocate(spec)) for _ in range(int(sys.argv[1]))]
    print(json.dumps([min(a.bind[key] for key in (("whisper", "register"), ("llama", "listen"))) for a in made]))
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_FIRST = """
from pytest_voiceloop.stack import ports
from pytest_voiceloop.stack.reference import reference_stack

ports.random.shuffle = lambda _: None
with ports.allocate(reference_stack()) as made:
    print(made.bind["whisper", "register"], flush=True)
"""


def test_processes_that_allocate_at_once_never_meet() -> None:
    claimers = [
        subprocess.Popen([sys.executable, "-c", CLAIM, "12"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = [[claimer.stdout.readline(), claimer.stdout.readline()] for claimer in claimers if claimer.stdout]
    for claimer in claimers:
        claimer.communicate()
    assert [held for _, held in said] == ["held\n"] * 6
    firsts = [number for numbers, _ in said for number in eval(numbers)]
    assert len(firsts) == 72
    # Each stack's numbers begin at a page of its own.
    assert len({(number - 20_000) // ports.PAGE for number in firsts}) == 72


def test_a_killed_holder_lets_go(monkeypatch) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_FIRST + "    " + FOREVER.replace("\n", "\n    ")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    theirs = int(holder.stdout.readline())
    monkeypatch.setattr(ports.random, "shuffle", lambda _: None)
    with allocate(reference_stack()) as made:
        while_held = made.bind["whisper", "register"]
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    def ours() -> int:
        with allocate(reference_stack()) as made:
            return made.bind["whisper", "register"]

    assert while_held != theirs
    until(lambda: ours() == theirs)


def test_another_folder_for_temporary_files_makes_no_difference(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ports.random, "shuffle", lambda _: None)
    with allocate(reference_stack()) as made:
        other = subprocess.run(
            [sys.executable, "-c", HOLD_FIRST],
            env={"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(other.stdout) != made.bind["whisper", "register"]
