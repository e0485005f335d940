"""What ends a call of whisper, and what must not end whisper."""

import logging
import socket
import threading
from types import SimpleNamespace

import pytest

from pytest_voiceloop.wire import frames
from voiceloop_services import links
from voiceloop_services.runtime import CallSlots
from voiceloop_services.whisper.service import Call, Whisper

LOG = logging.getLogger("whisper")
SENDER = ("127.0.0.1", 40_000)
OPTIONS = SimpleNamespace(
    calls=CallSlots(1, 1, 1),
    caller=("127.0.0.1", 1),
    llama=("127.0.0.1", 2),
    control=True,
    endpoint_silence_ms=100,
    endpoint_silence_unfinished_ms=100,
    early_silence_ms=0,
)
PATIENCE_S = 20
ENGINE = SimpleNamespace(detector=lambda: None)


def no_thread(_):
    raise RuntimeError("can't start new thread")


def complaints(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def serve(whisper, *received):
    """Whisper reads these datagrams, and then its socket is gone."""
    waiting = [*received]

    def recvfrom(_):
        if not waiting:
            raise OSError("nothing more")
        return waiting.pop(0), SENDER

    with pytest.raises(OSError, match="nothing more"):
        whisper.serve(SimpleNamespace(recvfrom=recvfrom))


def test_a_hang_up_that_meets_the_connection_to_llama_ends_the_call_without_a_complaint(monkeypatch, caplog):
    call = Call("1", OPTIONS, ENGINE, LOG)
    caller, to_caller = socket.socketpair()
    llama, to_llama = socket.socketpair()

    def connect(to, who, *_):
        if who == "the caller":
            return to_caller
        call.hang_up()
        return to_llama

    monkeypatch.setattr(links, "connect_patiently", connect)
    with caller, llama:
        caller.sendall(frames.encode_hello("1"))
        call.run()
        assert to_llama.fileno() == -1
    assert complaints(caplog) == []


def test_a_register_for_which_no_thread_can_be_started_keeps_no_slot(monkeypatch, caplog):
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    serve(Whisper(OPTIONS, ENGINE, LOG), b"REGISTER:1", b"REGISTER:1")
    said = "call 1: REGISTER from 127.0.0.1:40000 counts for nothing: no thread call-1: can't start new thread"
    assert complaints(caplog) == [said] * 2


def test_a_bye_for_which_no_thread_can_be_started_may_be_said_again(monkeypatch, caplog):
    whisper = Whisper(OPTIONS, ENGINE, LOG)
    connecting = threading.Event()

    def connect(_to, _who, over, *_):
        connecting.set()
        over.wait()
        raise ConnectionError("hung up")

    monkeypatch.setattr(links, "connect_patiently", connect)
    serve(whisper, b"REGISTER:1")
    assert connecting.wait(PATIENCE_S)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        serve(whisper, b"BYE:1")
    assert complaints(caplog) == ["call 1: BYE counts for nothing: no thread hang-up-1: can't start new thread"]
    serving = next(thread for thread in threading.enumerate() if thread.name == "call-1")
    serve(whisper, b"BYE:1")
    serving.join(PATIENCE_S)
    assert not serving.is_alive()


def test_a_call_whose_worker_cannot_be_started_ends_with_a_word_in_the_log(monkeypatch, caplog):
    caller, to_caller = socket.socketpair()
    llama, to_llama = socket.socketpair()
    connections = {"the caller": to_caller, "llama": to_llama}
    monkeypatch.setattr(links, "connect_patiently", lambda to, who, *_: connections[who])
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with caller, llama:
        caller.sendall(frames.encode_hello("1"))
        Call("1", OPTIONS, ENGINE, LOG).run()
    assert "broke off, caller at 127.0.0.1:2: no thread watch" in caplog.text
