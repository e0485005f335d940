"""The whisper service as its neighbours see it: PROTOCOL's rules over its own sockets, with the scripted engine."""

import json
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from free_ports import free_ports
from neighbours import DEADLINE_S, Listener, Service, send_datagram, silence, tone

from pytest_voiceloop.wire import frames

BYE = frames.encode_control("bye", frames.Layout.AUDIO_IN)
SLOW = ("--early-silence-ms", 0)
"""Without early transcripts what is said does not depend on how fast the test sends."""

BRISK = ("--endpoint-silence-ms", 300, "--endpoint-silence-unfinished-ms", 700)


class Whisper(Service):
    """A whisper, and the three neighbours' ends of its sockets."""

    def __init__(self, *options, folder):
        self.llama = Listener()
        self.base = free_ports(count=6)
        self.callers = {call_id: Listener(self.base + call_id) for call_id in (1, 3, 5)}
        self.register_port = free_ports()
        addresses = ("--register", f"127.0.0.1:{self.register_port}", "--caller", f"127.0.0.1:{self.base}")
        addresses += ("--llama", f"127.0.0.1:{self.llama.port}")
        super().__init__("whisper", "--engine", "scripted", *addresses, "--calls", "1:3:2", *options, folder=folder)

    def datagram(self, text):
        send_datagram(self.register_port, text)

    def call(self, call_id=1):
        """A call as (the caller's end, llama's end)."""
        caller = self.callers[call_id].accept(meanwhile=lambda: self.datagram(f"REGISTER:{call_id}"))
        caller.hello(call_id)
        heard = self.llama.accept()
        assert heard.next() == ("hello", str(call_id))
        return caller, heard

    def stop(self):
        super().stop()
        for listener in (self.llama, *self.callers.values()):
            listener.close()


@pytest.fixture
def boot(tmp_path):
    running = []

    def start(*options):
        running.append(Whisper("--script-text", "hello", *BRISK, *options, folder=tmp_path))
        running[-1].ready()
        return running[-1]

    yield start
    for service in running:
        service.stop()


def test_the_ready_line_names_engine_and_settings(boot):
    ready = boot().ready()
    assert (ready["ready"], ready["engine"], ready["model"], ready["device"]) == ("whisper", "scripted", None, "cpu")
    assert ready["settings"]["endpoint_silence_ms"] == 300


def test_connects_to_llama_at_the_start_of_the_call(boot):
    boot().call()


def test_an_utterance_is_passed_on_and_ended(boot):
    caller, heard = boot(*SLOW).call()
    caller.audio(tone(0.5), silence(0.4))
    assert [heard.next(), heard.next()] == [("text", "hello"), ("end", "")]


@pytest.mark.parametrize("frame_samples", [1, 100, 320, 7919])
def test_frames_may_have_any_size(boot, frame_samples):
    caller, heard = boot(*SLOW).call()
    caller.audio(tone(0.3), silence(0.35), frame_samples=frame_samples)
    assert heard.next() == ("text", "hello")


def test_an_early_transcript_is_confirmed_by_end(boot):
    caller, heard = boot("--endpoint-silence-unfinished-ms", 300).call()
    caller.audio(tone(0.3), silence(0.15))
    assert heard.next() == ("text", "hello")
    caller.audio(silence(0.2))
    assert heard.next() == ("end", "")


def test_an_early_transcript_is_taken_back_when_speech_goes_on(boot):
    service = boot("--script-text", "then more")
    caller, heard = service.call()
    caller.audio(tone(0.3), silence(0.15))
    assert heard.next() == ("text", "hello")
    caller.audio(tone(0.3))
    assert heard.next() == ("cancel", "")
    caller.send(BYE)
    # Still the first utterance: the later transcript covers it from its start.
    assert heard.rest() == [("text", "hello"), ("end", ""), ("bye", "")]
    service.logs("speech 0.00-0.76 s")


def test_unfinished_words_wait_for_more(boot):
    caller, heard = boot("--endpoint-silence-unfinished-ms", 1000).call()
    caller.audio(tone(0.3), silence(0.15))
    assert heard.next() == ("text", "hello")  # no full stop: it looks unfinished
    caller.audio(silence(0.4), tone(0.2))
    assert heard.next() == ("cancel", "")


def test_without_control_the_text_goes_when_it_is_final(boot):
    caller, heard = boot("--no-control").call()
    caller.audio(tone(0.3), silence(0.15), tone(0.3), silence(0.15))
    caller.send(BYE)
    assert heard.rest() == [("text", "hello"), ("bye", "")]


def test_silence_says_nothing(boot):
    caller, heard = boot().call()
    caller.audio(silence(2))
    caller.send(BYE)
    assert heard.rest() == [("bye", "")]


def test_bye_drains(boot):
    caller, heard = boot("--script-delay-ms", 300, *SLOW).call()
    caller.audio(tone(0.5))
    caller.send(BYE)
    caller.close()
    assert heard.rest() == [("text", "hello"), ("end", ""), ("bye", "")]


def test_a_bye_datagram_after_bye_cuts_nothing_off(boot):
    service = boot("--script-delay-ms", 500, *SLOW)
    caller, heard = service.call()
    caller.audio(tone(0.5))
    caller.send(BYE)
    service.datagram("BYE:1")
    assert heard.rest() == [("text", "hello"), ("end", ""), ("bye", "")]


def test_a_bye_datagram_alone_discards_what_is_left(boot):
    service = boot(*SLOW)
    caller, heard = service.call()
    caller.audio(tone(0.5))
    service.datagram("BYE:1")
    assert heard.rest() == []
    assert caller.rest() == []
    service.logs("the caller hung up")


def test_a_bye_datagram_that_comes_a_hundred_times_starts_no_hundred_threads(boot):
    service = boot(*SLOW)
    process = psutil.Process(service.process.pid)
    _call = service.call()
    before = process.num_threads()
    for _ in range(100):
        service.datagram("BYE:1")
    # The call's own worker may only just be starting; a hundred threads would be many more.
    assert process.num_threads() < before + 10
    service.logs("the caller hung up")


def test_samples_that_are_no_numbers_do_not_deafen_the_call(boot):
    caller, heard = boot(*SLOW).call()
    caller.audio(np.full(1600, np.nan, np.float32), np.full(1600, 3e38, np.float32), silence(0.4))
    assert heard.next() == ("text", "hello")
    assert heard.next() == ("end", "")
    caller.audio(tone(0.3), silence(0.4))
    assert heard.next() == ("text", "hello")


def test_another_spelling_of_an_id_is_another_call(boot):
    service = boot()
    service.datagram("REGISTER:01")
    service.logs("call 01: refused, it is none of --calls")


def test_audio_as_fast_as_it_goes_is_endpointed_on_its_own_clock(boot):
    service = boot("--script-text", "there")
    caller, heard = service.call()
    began = time.monotonic()
    caller.audio(silence(5), tone(10), silence(1), tone(10), silence(5), frame_samples=400_000)
    caller.send(BYE)
    assert heard.rest() == [("text", "hello"), ("end", ""), ("text", "there"), ("end", ""), ("bye", "")]
    assert time.monotonic() - began < 15  # 31 s of audio
    service.logs("speech 5.00-15.00 s")
    service.logs("speech 16.00-26.00 s")


def test_short_utterances_of_a_recording_are_transcribed_together(boot):
    caller, heard = boot("--script-text", "there").call()
    caller.audio(silence(1), tone(1), silence(1), tone(1), frame_samples=400_000)
    caller.send(BYE)
    assert heard.rest() == [("text", "hello"), ("end", ""), ("bye", "")]


def test_a_recording_without_bye_is_transcribed_too(boot):
    caller, heard = boot().call()
    caller.audio(tone(3), silence(1), frame_samples=400_000)
    assert heard.next() == ("text", "hello")


@pytest.mark.parametrize(
    ("at_once", "then"),
    [
        ([silence(1.5)], [silence(2.5), tone(0.3), silence(DEADLINE_S)]),
        ([silence(0.5), tone(0.3), silence(0.7)], [silence(DEADLINE_S)]),
    ],
    ids=["speaks after it", "spoke in it"],
)
def test_a_caller_whose_sound_was_held_up_is_no_recording(boot, at_once, then):
    caller, heard = boot(*SLOW).call()
    caller.audio(*at_once)
    said = np.concatenate(then)
    answered, began = threading.Event(), time.monotonic()

    def speak():
        # As it is spoken, and without an end: what is heard at the end would show nothing.
        for number, at in enumerate(range(0, len(said), 320)):
            if answered.wait(max(0.0, began + number * 0.02 - time.monotonic())):
                return
            caller.audio(said[at : at + 320])

    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        assert [heard.next(), heard.next()] == [("text", "hello"), ("end", "")]
    finally:
        answered.set()
        speaking.join()


def test_audio_is_heard_while_a_transcription_runs(boot):
    service = boot("--script-delay-ms", 1000, *SLOW)
    caller, _ = service.call()
    caller.audio(tone(0.3), silence(0.4), tone(0.3), silence(0.4))
    service.logs("speech 0.70-1.00 s")
    assert "transcript" not in service.log


def test_several_calls_at_once(boot):
    service = boot(*SLOW)
    calls = [service.call(call_id) for call_id in (1, 3, 5)]
    for caller, _ in calls:
        caller.audio(tone(0.3), silence(0.4))
    for caller, heard in calls:
        caller.send(BYE)
        assert heard.rest() == [("text", "hello"), ("end", ""), ("bye", "")]


def test_an_unknown_call_is_refused(boot):
    service = boot()
    service.datagram("REGISTER:2")
    service.logs("call 2: refused, it is none of --calls")


def test_register_may_be_repeated(boot):
    service = boot(*SLOW)
    caller, heard = service.call()
    for _ in range(3):
        service.datagram("REGISTER:1")
    caller.audio(tone(0.3), silence(0.4))
    assert heard.next() == ("text", "hello")
    assert service.callers[1].nobody_comes()


def test_a_caller_that_comes_late_is_waited_for(boot):
    service = boot()
    service.callers[1].close()
    service.datagram("REGISTER:1")
    service.logs("call 1: registered")
    service.callers[1] = Listener(service.base + 1)
    service.callers[1].accept()


def test_junk_datagrams_are_dropped(boot):
    service = boot()
    for junk in ("", "REGISTER", "REGISTER:x", "HELLO:1", "REGISTER:" + "1" * 300):
        service.datagram(junk)
    service.call()


def test_a_hello_for_another_call_is_refused(boot):
    service = boot()
    service.datagram("REGISTER:1")
    caller = service.callers[1].accept()
    caller.hello(3)
    assert caller.rest() == []
    service.logs("is for call 3")
    assert service.llama.nobody_comes()


def test_an_id_is_free_again_after_bye(boot):
    service = boot()
    for _ in range(2):
        caller, heard = service.call()
        caller.send(BYE)
        assert heard.rest() == [("bye", "")]
        assert caller.rest() == []


@pytest.mark.parametrize(
    ("junk", "complaint"),
    [
        pytest.param(struct.pack(">I", 2_000_004), "at byte 5 of the connection", id="oversized"),
        pytest.param(struct.pack(">I", 0), "at byte 5 of the connection", id="empty"),
        pytest.param(struct.pack(">I", 7), "at byte 5 of the connection", id="garbled"),
        pytest.param(struct.pack(">I", 8) + b"1234", "8 bytes into a frame", id="truncated"),
    ],
)
def test_a_broken_frame_closes_that_call_and_no_other(boot, junk, complaint):
    service = boot(*SLOW)
    caller, heard = service.call()
    healthy, healthy_heard = service.call(3)
    caller.send(junk)
    caller.stop_sending()
    assert caller.rest() == []
    assert heard.rest() == []
    service.logs(f"call 1: closed the connection to the caller at 127.0.0.1:{service.base + 1}")
    service.logs(complaint)
    healthy.audio(tone(0.3), silence(0.4))
    assert healthy_heard.next() == ("text", "hello")


def test_a_lost_caller_ends_the_call(boot):
    service = boot()
    caller, heard = service.call()
    caller.close()
    assert heard.rest() == []
    service.logs("closed the connection without BYE")
    service.call()


def test_a_dead_llama_ends_the_call_at_once(boot):
    service = boot()
    caller, heard = service.call()
    heard.close()
    assert caller.rest() == []
    service.logs("closed the connection in mid-call")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(boot, number):
    service = boot()
    service.call()
    service.process.send_signal(number)
    assert service.process.wait(DEADLINE_S) == 0


def test_a_missing_model_exits_69_and_names_the_cure(tmp_path):
    pytest.importorskip("faster_whisper")
    command = [sys.executable, "-m", "voiceloop_services.whisper", "--model", str(tmp_path / "none")]
    command += ["--register", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 69
    said = json.loads(done.stdout.splitlines()[-1])
    assert "none" in said["missing"]
    assert said["cure"]
