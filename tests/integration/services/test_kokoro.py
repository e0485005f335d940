"""The kokoro service as a process: what it takes from llama, and what it passes to outbound."""

import argparse
import logging
import signal
import socket
import struct
import threading

import numpy as np
import pytest
import soundfile
from free_ports import free_ports
from lines import HOST, RATE_HZ, SAMPLES_PER_CHARACTER, AudioPeer, Kokoro, KokoroCall, tone
from neighbours import DEADLINE_S, Service, connect, send_datagram, until

from pytest_voiceloop.wire import frames
from voiceloop_services import runtime
from voiceloop_services.kokoro import service as kokoro_service
from voiceloop_services.kokoro import sound


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Kokoro(tmp_path_factory.mktemp("kokoro")) as running:
        yield running


@pytest.fixture
def call(service):
    made = KokoroCall(service)
    yield made
    made.close()


@pytest.fixture(scope="module")
def slow_service(tmp_path_factory):
    with Kokoro(tmp_path_factory.mktemp("slow"), "--script-delay-ms", 150) as running:
        yield running


@pytest.fixture
def slow_call(slow_service):
    made = KokoroCall(slow_service)
    yield made
    made.close()


def next_audio(outbound):
    frame = outbound.next()
    assert frame.kind == "audio", frame
    return frame.chunk_id, len(frame.samples) // SAMPLES_PER_CHARACTER


def test_says_hello_to_outbound_when_the_call_is_registered(call):
    call.register()


def test_ready_line_names_the_engine(service):
    facts = service.ready()
    assert (facts["ready"], facts["engine"], facts["model"]) == ("kokoro", "scripted", None)


def test_audio_goes_to_outbound_in_order(call):
    outbound, llama = call.register(), call.llama()
    llama.text("one two")
    llama.text("three")
    llama.control("end")
    first, second, end = outbound.next(), outbound.next(), outbound.next()
    assert [first.chunk_id, second.chunk_id] == [1, 2]
    assert [len(each.samples) // SAMPLES_PER_CHARACTER for each in (first, second)] == [7, 5]
    assert first.sample_rate_hz == RATE_HZ
    assert end.kind == "end"


def test_nothing_goes_back_to_llama(call):
    outbound, llama = call.register(), call.llama()
    llama.text("one")
    llama.control("bye")
    assert outbound.next().kind == "audio"
    assert llama.rest() == []


def test_chunk_ids_go_on_over_replies(call):
    outbound, llama = call.register(), call.llama()
    for expected in (1, 2):
        llama.text("one")
        llama.control("end")
        assert next_audio(outbound) == (expected, 3)
        assert outbound.next().kind == "end"


def test_audio_is_held_until_end_confirms_it(call):
    outbound, llama = call.register(), call.llama()
    llama.text("held")
    call.logs("'held' is")
    assert outbound.nothing_comes()
    llama.control("end")
    assert next_audio(outbound) == (1, 4)


def test_cancel_takes_back_what_was_spoken_since_end(call):
    outbound, llama = call.register(), call.llama()
    llama.text("stays")
    llama.control("end")
    llama.text("wrong")
    call.logs("'wrong' is")
    llama.control("cancel")
    llama.text("right one")
    llama.control("end")
    assert next_audio(outbound) == (1, 5)
    assert outbound.next().kind == "end"
    assert next_audio(outbound) == (2, 9)


def test_cancel_takes_back_what_is_being_spoken(slow_call):
    outbound, llama = slow_call.register(), slow_call.llama()
    llama.text("wrong")
    llama.control("cancel")
    llama.text("right one")
    llama.control("end")
    assert next_audio(outbound) == (1, 9)
    assert outbound.next().kind == "end"


def test_bye_drains(slow_call):
    outbound, llama = slow_call.register(), slow_call.llama()
    for text in ("a", "bb", "ccc"):
        llama.text(text)
    llama.control("bye")
    assert [next_audio(outbound) for _ in range(3)] == [(1, 1), (2, 2), (3, 3)]
    assert outbound.next().kind == "bye"
    assert outbound.closed()


def test_bye_datagram_does_not_cut_what_drains(slow_call):
    outbound, llama = slow_call.register(), slow_call.llama()
    llama.text("a")
    llama.text("bb")
    llama.control("bye")
    slow_call.logs("BYE from llama")
    slow_call.datagram("BYE")
    assert [next_audio(outbound) for _ in range(2)] == [(1, 1), (2, 2)]
    assert outbound.next().kind == "bye"


def test_bye_datagram_alone_discards(slow_call):
    outbound, llama = slow_call.register(), slow_call.llama()
    llama.text("a")
    llama.text("bb")
    llama.control("end")
    next_audio(outbound)
    slow_call.datagram("BYE")
    assert outbound.closed()


def test_slot_serves_the_next_call_after_a_hang_up(slow_call):
    outbound, llama = slow_call.register(), slow_call.llama()
    llama.text("of the first call")
    slow_call.datagram("BYE")
    assert outbound.closed()
    llama.text("too late")
    outbound, llama = slow_call.register(), slow_call.llama()
    llama.text("next")
    llama.control("end")
    assert next_audio(outbound) == (1, 4)


def test_hang_up_that_comes_after_the_next_calls_llama_does_not_hit_it(call):
    outbound, llama = call.register(), call.llama()
    port = llama.connection.getsockname()[1]
    llama.close()
    call.logs(f"{HOST}:{port} went without BYE")
    llama = call.llama()
    until(lambda: call.service.log.count(f"call {call.call_id}: llama connected") == 2, "the next call's llama")
    call.datagram("BYE")
    assert outbound.closed()
    outbound = call.register()
    llama.text("next")
    llama.control("end")
    assert next_audio(outbound) == (1, 4)


def test_slot_serves_the_next_call_after_bye(call):
    outbound, llama = call.register(), call.llama()
    llama.control("bye")
    assert outbound.next().kind == "bye"
    outbound, llama = call.register(), call.llama()
    llama.text("next")
    llama.control("end")
    assert next_audio(outbound) == (1, 4)


def test_late_bye_datagram_does_not_hit_the_next_call(call):
    outbound, llama = call.register(), call.llama()
    llama.control("bye")
    assert outbound.next().kind == "bye"
    llama = call.llama()
    llama.text("next")
    call.logs("'next' is")
    call.datagram("BYE")
    outbound = call.register()
    llama.control("end")
    assert next_audio(outbound) == (1, 4)


def test_blank_text_is_not_spoken(call):
    outbound, llama = call.register(), call.llama()
    llama.text(" \n ")
    llama.text(" two ")
    llama.control("end")
    assert next_audio(outbound) == (1, 3)
    assert outbound.next().kind == "end"


def test_without_control_audio_leaves_at_once_and_no_end(tmp_path):
    with Kokoro(tmp_path, "--no-control") as service:
        call = KokoroCall(service)
        outbound, llama = call.register(), call.llama()
        llama.text("one")
        assert next_audio(outbound) == (1, 3)
        llama.control("end")
        llama.text("four")
        assert next_audio(outbound) == (2, 4)
        call.logs("ignored END")
        llama.control("bye")
        assert outbound.next().kind == "bye"
        call.close()


def test_reconnect_starts_a_new_sequence(call):
    outbound, llama = call.register(), call.llama()
    llama.text("one")
    llama.control("end")
    assert next_audio(outbound) == (1, 3)
    assert outbound.next().kind == "end"
    outbound.close()
    llama.text("four")
    llama.text("fifth")
    llama.control("end")
    again = call.accept()
    assert [next_audio(again), next_audio(again)] == [(1, 4), (2, 5)]
    assert again.next().kind == "end"


def test_chunk_on_which_the_connection_broke_is_sent_again(call):
    outbound, llama = call.register(), call.llama()
    # More than the sockets' buffers hold, so that kokoro is still sending it when the connection goes.
    llama.text("x" * 1400)
    llama.control("end")
    assert outbound.connection.recv(1000)
    outbound.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    outbound.close()
    again = call.accept()
    assert next_audio(again) == (1, 1400)
    assert again.next().kind == "end"


def test_waits_for_an_outbound_that_listens_late(service):
    call = KokoroCall(service, listening=False)
    call.datagram("REGISTER")
    call.logs("outbound at")
    call.listen()
    call.accept()
    call.close()


def test_gives_up_after_ten_retries_and_tries_again_at_the_next_register(service):
    call = KokoroCall(service, listening=False)
    call.datagram("REGISTER")
    call.logs("no way to outbound")
    assert service.log.count(f"call {call.call_id}: outbound at") == 10
    call.listen()
    call.register()
    call.close()


def test_calls_take_turns(slow_service):
    talker, other = KokoroCall(slow_service), KokoroCall(slow_service)
    talking, speaking = talker.llama(), other.llama()
    for text in ("talk 1", "talk 2", "talk 3", "talk 4"):
        talking.text(text)
    speaking.text("other")
    talker.logs("'talk 4' is")
    assert slow_service.log.index("'other' is") < slow_service.log.index("'talk 4' is")
    talker.close()
    other.close()


def test_newer_connection_of_a_call_wins(call):
    outbound, older = call.register(), call.llama()
    older.text("older")
    call.logs("'older' is")
    newer = call.llama()
    assert older.next() == ("closed", "")
    newer.text("new")
    newer.control("end")
    assert next_audio(outbound) == (1, 3)


def test_lost_llama_leaves_no_unconfirmed_text(call):
    outbound, llama = call.register(), call.llama()
    llama.text("said")
    llama.control("end")
    llama.text("not confirmed")
    call.logs("'not confirmed' is")
    llama.close()
    call.logs("1 clauses discarded that no END confirmed")
    llama = call.llama()
    llama.text("new")
    llama.control("end")
    assert next_audio(outbound) == (1, 4)
    assert outbound.next().kind == "end"
    assert next_audio(outbound) == (2, 3)


def test_unknown_call_is_refused(service):
    peer = connect(service.text_port)
    peer.hello(999)
    assert peer.next() == ("closed", "")
    service.logs("no call 999 in --calls")


def test_unknown_registration_is_refused(service):
    send_datagram(service.register_port, "REGISTER:888")
    service.logs("refused REGISTER:888")


def test_datagram_that_is_none_is_dropped(service):
    send_datagram(service.register_port, "HELLO?")
    service.logs("no control datagram: b'HELLO?'")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7f\xff\xff\xff", "claims 2147483647 bytes"),
        (b"\x00\x00\x00\x02\xff\xfe", "not UTF-8"),
        (b"\x00\x00\x00\x00", "claims 0 bytes"),
    ],
)
def test_bad_frame_closes_only_its_connection(call, data, message):
    outbound, llama = call.register(), call.llama()
    call.logs("llama connected")
    llama.send(data)
    assert llama.next() == ("closed", "")
    call.logs(f"closed the connection from {HOST}:{llama.connection.getsockname()[1]}")
    line = next(each for each in call.service.log.splitlines() if message in each and f"call {call.call_id}:" in each)
    assert "(at byte 7 of the connection)" in line
    llama = call.llama()
    llama.text("still")
    llama.control("end")
    assert next_audio(outbound) == (1, 5)


def test_truncated_frame_is_told(call):
    llama = call.llama()
    call.logs("llama connected")
    llama.send(b"\x00\x00\x00\x09half")
    llama.close()
    call.logs("closed the connection from")
    assert "ended 8 bytes into a frame (at byte 7 of the connection)" in call.service.log


def test_connection_that_is_no_llama_is_closed(service):
    peer = connect(service.text_port)
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.next() == ("closed", "")
    service.logs("expected HELLO of 1 to 1000 bytes")


def test_log_tells_what_a_clause_cost(call):
    outbound, llama = call.register(), call.llama()
    llama.text("one two")
    llama.control("end")
    next_audio(outbound)
    call.logs("'one two' is 0.49 s of audio, made in")


def test_sigterm_ends_it_in_the_middle_of_a_reply(tmp_path):
    with Kokoro(tmp_path, "--script-delay-ms", 60_000) as service:
        call = KokoroCall(service)
        llama = call.llama()
        llama.text("for ever")
        call.logs("llama connected")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(DEADLINE_S) == 0
        call.close()


def test_port_in_use_is_told(tmp_path):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        service = Service("kokoro", "--engine", "scripted", "--listen", f"{HOST}:{port}", folder=tmp_path)
        assert service.process.wait(DEADLINE_S) == 1
    assert f"cannot bind {HOST}:{port}: Address already in use (--listen" in service.log


def test_missing_clip_exits_with_its_cure(tmp_path):
    ports = ("--listen", f"{HOST}:{free_ports()}", "--register", f"{HOST}:{free_ports()}")
    service = Service("kokoro", "--engine", "scripted", *ports, "--script-clip", tmp_path / "no.wav", folder=tmp_path)
    assert service.process.wait(DEADLINE_S) == 69
    assert '"cure": "name a WAV or FLAC file that exists"' in service.log


def test_script_clip_is_spoken_for_every_text(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(0.5, rate_hz=16_000), 16_000, subtype="FLOAT")
    with Kokoro(tmp_path, "--script-clip", tmp_path / "clip.wav") as service:
        call = KokoroCall(service)
        outbound, llama = call.register(), call.llama()
        for text in ("one", "another"):
            llama.text(text)
        llama.control("end")
        first, second = outbound.next(), outbound.next()
        assert len(first.samples) == RATE_HZ // 2
        assert np.array_equal(first.samples, second.samples)
        call.close()


class BreaksOff:
    """A speaker whose engine fails in the middle of one text."""

    def speak(self, text, made_s=0.0):
        yield sound.Chunk(tone(0.1), last=False)
        if text == "fails":
            raise RuntimeError("the engine failed")
        yield sound.Chunk(tone(0.2), last=True)


def test_an_engine_that_fails_in_the_middle_of_a_text_ends_that_text_and_no_more():
    with socket.create_server((HOST, 0)) as outbound:
        outbound.settimeout(DEADLINE_S)
        options = argparse.Namespace(calls=runtime.CallSlots(0, 1, 1), outbound=outbound.getsockname(), control=True)
        service = kokoro_service.Kokoro(options, BreaksOff(), logging.getLogger("test"))
        threading.Thread(target=service.speak_forever, daemon=True).start()
        llama, theirs = socket.socketpair()
        with llama:
            threading.Thread(target=service.read_text, args=(theirs, ("llama", 0)), daemon=True).start()
            llama.sendall(frames.encode_hello("0"))
            for text in ("fails", "goes on"):
                llama.sendall(frames.encode_text(text))
                llama.sendall(frames.encode_control("end", frames.Layout.TEXT))
            peer = AudioPeer(outbound.accept()[0])
            got = [peer.next() for _ in range(6)]
            peer.close()
    assert [frame.kind for frame in got] == ["hello", "audio", "end", "audio", "audio", "end"]
    assert [len(frame.samples) / RATE_HZ for frame in got if frame.kind == "audio"] == [0.1, 0.1, 0.2]
