"""The llama service as its neighbours see it: PROTOCOL's rules over its own sockets, with the scripted engine."""

import json
import signal
import struct
import subprocess
import sys

import pytest
from free_ports import free_ports
from neighbours import DEADLINE_S, Listener, Service, connect

from pytest_voiceloop.wire import frames


@pytest.fixture
def kokoro():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def boot(kokoro, tmp_path):
    """Start a llama with further options; ends it."""
    running = []

    def start(*options):
        port = free_ports()
        addresses = ("--listen", f"127.0.0.1:{port}", "--kokoro", f"127.0.0.1:{kokoro.port}")
        service = Service("llama", "--engine", "scripted", *addresses, "--calls", "1:3:2", *options, folder=tmp_path)
        running.append(service)
        service.ready()
        service.port = port
        return service

    yield start
    for service in running:
        service.stop()


def open_call(service, kokoro, call_id=1):
    """A call as (whisper's end, kokoro's end)."""
    whisper = connect(service.port)
    whisper.hello(call_id)
    heard = kokoro.accept()
    assert heard.next() == ("hello", str(call_id))
    return whisper, heard


def test_the_ready_line_names_the_engine(boot):
    ready = boot().ready()
    assert (ready["ready"], ready["engine"], ready["model"], ready["device"]) == ("llama", "scripted", None, "cpu")


def test_connects_to_kokoro_at_the_start_of_the_call(boot, kokoro):
    open_call(boot(), kokoro)


def test_a_confirmed_text_is_answered_and_ended(boot, kokoro):
    whisper, heard = open_call(boot("--script-reply", "You said {said} just now. Is it so today?"), kokoro)
    whisper.text("hello")
    whisper.control("end")
    assert [heard.next() for _ in range(3)] == [
        ("text", "You said hello just now."),
        ("text", "Is it so today?"),
        ("end", ""),
    ]


def test_works_ahead_on_an_unconfirmed_text_but_does_not_end(boot, kokoro):
    whisper, heard = open_call(boot(), kokoro)
    whisper.text("hello")
    assert heard.next() == ("text", "You said: hello")
    whisper.control("end")
    assert heard.next() == ("end", "")


def test_a_cancelled_text_is_taken_back_and_forgotten(boot, kokoro):
    service = boot("--script-reply", "This is the first reply.", "--script-reply", "This is the second reply.")
    whisper, heard = open_call(service, kokoro)
    whisper.text("one")
    assert heard.next() == ("text", "This is the first reply.")
    whisper.control("cancel")
    assert heard.next() == ("cancel", "")
    whisper.text("one two")
    whisper.control("end")
    # The cancelled exchange is not in the history, so this is the first reply again.
    assert [heard.next(), heard.next()] == [("text", "This is the first reply."), ("end", "")]


def test_a_cancel_stops_a_reply_that_is_being_written(boot, kokoro):
    whisper, heard = open_call(boot("--script-delay-ms", 3_600_000), kokoro)
    whisper.text("one")
    whisper.control("cancel")
    whisper.control("bye")
    assert heard.rest() == [("bye", "")]


def test_more_text_before_end_is_answered_as_one(boot, kokoro):
    whisper, heard = open_call(boot(), kokoro)
    whisper.text("one")
    assert heard.next() == ("text", "You said: one")
    whisper.text("two")
    whisper.control("end")
    whisper.control("bye")
    assert heard.rest() == [("cancel", ""), ("text", "You said: one two"), ("end", ""), ("bye", "")]


def test_of_more_than_anybody_says_the_end_is_answered(boot, kokoro):
    service = boot()
    whisper, heard = open_call(service, kokoro)
    whisper.text("x" * 1_000_000)
    whisper.control("end")
    assert heard.next() == ("text", "You said: " + "x" * 4000)
    service.logs("only the end of what was said is answered: 1000000 characters are too many")


def test_text_forges_no_line_of_the_log(boot, kokoro):
    service = boot()
    whisper, heard = open_call(service, kokoro)
    whisper.text('hello\n{"ready": "forged"}')
    assert heard.next()[0] == "text"
    service.logs("forged")
    assert not [line for line in service.log.splitlines() if line.startswith('{"ready": "forged"')]


def test_turns_share_a_history(boot, kokoro):
    whisper, heard = open_call(boot("--script-reply", "This is reply one.", "--script-reply", "This is two."), kokoro)
    for text in ("a", "b"):
        whisper.text(text)
        whisper.control("end")
    whisper.control("bye")
    assert [text for kind, text in heard.rest() if kind == "text"] == ["This is reply one.", "This is two."]


def test_bye_drains(boot, kokoro):
    whisper, heard = open_call(boot("--script-delay-ms", 300), kokoro)
    whisper.text("hello")
    whisper.control("end")
    whisper.control("bye")
    whisper.close()
    assert heard.rest() == [("text", "You said: hello"), ("end", ""), ("bye", "")]


def test_bye_confirms_a_text_without_end(boot, kokoro):
    whisper, heard = open_call(boot(), kokoro)
    whisper.text("hello")
    whisper.control("bye")
    assert heard.rest() == [("text", "You said: hello"), ("end", ""), ("bye", "")]


def test_a_closed_connection_without_bye_is_a_hang_up(boot, kokoro):
    service = boot("--script-delay-ms", 3_600_000)
    whisper, heard = open_call(service, kokoro)
    whisper.text("hello")
    whisper.close()
    assert heard.rest() == []
    service.logs("closed the connection without BYE")


def test_without_control_every_text_is_an_utterance_and_nothing_but_text_is_said(boot, kokoro):
    whisper, heard = open_call(boot("--no-control"), kokoro)
    whisper.text("one")
    assert heard.next() == ("text", "You said: one")
    whisper.text("two")
    whisper.control("bye")
    assert heard.rest() == [("text", "You said: two"), ("bye", "")]


def test_an_unknown_call_is_refused(boot, kokoro):
    service = boot()
    whisper = connect(service.port)
    whisper.hello(2)
    assert whisper.rest() == []
    service.logs("call 2: refused, it is none of --calls")


def test_an_id_is_free_again_after_bye(boot, kokoro):
    service = boot()
    for _ in range(2):
        whisper, heard = open_call(service, kokoro)
        whisper.control("bye")
        assert heard.rest() == [("bye", "")]


def test_two_calls_do_not_mix(boot, kokoro):
    service = boot("--script-delay-ms", 50)
    calls = [open_call(service, kokoro, call_id) for call_id in (1, 3)]
    for number in range(3):
        for name, (whisper, _) in zip("ab", calls, strict=True):
            whisper.text(f"{name}{number}")
            whisper.control("end")
    for name, (whisper, heard) in zip("ab", calls, strict=True):
        whisper.control("bye")
        said = [text for kind, text in heard.rest() if kind == "text"]
        assert said == [f"You said: {name}{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("junk", "complaint"),
    [
        pytest.param(struct.pack(">I", 11 << 20), "at byte 5 of the connection", id="oversized"),
        pytest.param(struct.pack(">I", 0), "at byte 5 of the connection", id="empty"),
        pytest.param(struct.pack(">I", 2) + b"\xff\xfe", "not UTF-8", id="garbled"),
        pytest.param(frames.encode_text("hello")[:-2], "7 bytes into a frame", id="truncated"),
    ],
)
def test_a_broken_frame_closes_that_call_and_no_other(boot, kokoro, junk, complaint):
    service = boot()
    whisper, heard = open_call(service, kokoro)
    healthy, healthy_heard = open_call(service, kokoro, 3)
    peer = "{}:{}".format(*whisper.connection.getsockname())
    whisper.send(junk)
    whisper.stop_sending()
    assert whisper.rest() == []
    assert heard.rest() == []
    service.logs(f"call 1: closed the connection from {peer}")
    service.logs(complaint)
    healthy.text("hello")
    assert healthy_heard.next() == ("text", "You said: hello")


def test_junk_instead_of_hello_closes_the_connection(boot, kokoro):
    service = boot()
    whisper = connect(service.port)
    whisper.send(b"GET / HTTP/1.1\r\n\r\n")
    assert whisper.rest() == []
    service.logs("expected HELLO")
    open_call(service, kokoro)


def test_a_dead_kokoro_ends_the_call_at_once(boot, kokoro):
    service = boot()
    whisper, heard = open_call(service, kokoro)
    heard.close()
    assert whisper.rest() == []
    service.logs("closed the connection in mid-call")


def test_a_kokoro_that_comes_late_is_waited_for(boot, kokoro):
    service = boot()
    kokoro.close()
    whisper = connect(service.port)
    whisper.hello(1)
    service.logs("call 1: connected from")
    late = Listener(kokoro.port)
    assert late.accept().next() == ("hello", "1")
    late.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(boot, kokoro, number):
    service = boot()
    open_call(service, kokoro)
    service.process.send_signal(number)
    assert service.process.wait(DEADLINE_S) == 0


def test_a_missing_model_exits_69_and_names_the_cure(tmp_path):
    pytest.importorskip("llama_cpp")
    command = [sys.executable, "-m", "voiceloop_services.llama", "--model", str(tmp_path / "none.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 69
    said = json.loads(done.stdout.splitlines()[-1])
    assert "none.gguf" in said["missing"]
    assert said["cure"]


def test_a_port_in_use_is_named(kokoro):
    command = [sys.executable, "-m", "voiceloop_services.llama", "--engine", "scripted"]
    command += ["--listen", f"127.0.0.1:{kokoro.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert f"cannot bind 127.0.0.1:{kokoro.port}" in done.stderr
