"""What a stranger could reach or smuggle in: sockets, shells, and what models write into terminals and pages."""

import json
import unicodedata
from xml.etree import ElementTree as ET

import remains

from pytest_voiceloop.report.render import FORMATS, SUFFIXES
from pytest_voiceloop.stack.process import spawn

LOOPBACK = {"127.0.0.1", "::1"}
HOSTILE = "\x1b[2J\x1b]0;owned\x07 <script>alert(1)</script> \u202egnitirw \x9b31m"
ALLOWED = "\n\t"


def test_nothing_of_a_run_can_be_reached_from_outside(repository, watch):
    run = repository.start_in_the_second_turn()
    found = remains.sockets(watch.look()).values()
    run.kill()
    run.wait()
    # The four services by what they listen on, whisper and kokoro for REGISTER; the harness' taps and the caller's ear.
    assert {one.protocol for one in found if one.reachable} >= {"tcp", "udp"}
    assert len([one for one in found if one.reachable]) > 20
    assert {one.host for one in found} <= LOOPBACK


def test_no_shell_reads_a_command(tmp_path):
    words = ["$(touch evil)", "; touch evil", "`touch evil`", "*", "a  b", "'\"", "${HOME}", "> evil"]
    program = "import json, sys; print(json.dumps(sys.argv[1:]), flush=True)"
    process = spawn(
        "fake", ["python3", "-c", program, *words], tmp_path / "fake.log", env={}, cwd=tmp_path, grace_s=1.0
    )
    process.popen.wait(60)
    process.stop()
    assert json.loads(process.log.read_text()) == words
    assert not (tmp_path / "evil").exists()


def test_what_models_say_commands_no_terminal_and_no_page(repository):
    repository.stack(llama=["--script-reply", HOSTILE], whisper=["--script-text", HOSTILE])
    repository.tests("""
        import psutil
        import pytest

        @pytest.mark.latency(total="1ms")
        def test_over_budget(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        def test_that_dies(voiceloop_stack, voiceloop_simulator):
            process = voiceloop_stack.running.processes[1]
            psutil.Process(process.popen.pid).children()[0].kill()
            process.popen.wait(60)
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    reports = [f"--voiceloop-report={form}" for form in FORMATS]
    result = repository.run(*reports, "--junitxml=junit.xml")
    assert "alert(1)" in result.stdout.str(), "the words are shown"
    written = {form: repository.results / f"report.{SUFFIXES[form]}" for form in FORMATS}
    shown = {form: path.read_text() for form, path in written.items()}
    shown |= {"terminal": result.stdout.str(), "junit": (repository.path / "junit.xml").read_text()}
    assert {form: controls(text) for form, text in shown.items() if controls(text)} == {}
    assert "<script>alert" not in shown["html"]
    assert "<script>alert" not in shown["summary"]
    ET.fromstring(shown["junit"])


def controls(text):
    """The characters of a text that command a terminal or turn the writing direction."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in ALLOWED}
