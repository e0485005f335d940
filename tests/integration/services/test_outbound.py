"""The outbound service as a process: audio frames in, RTP and datagrams out."""

import math
import signal
import socket
import time

import numpy as np
import pytest
from lines import HOST, RATE_HZ, Outbound, OutboundCall, heard, loudest_hz, tone, udp_socket
from neighbours import DEADLINE_S, Service

from pytest_voiceloop.wire import frames, rtp


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Outbound(tmp_path_factory.mktemp("asap"), "--pace", "asap") as running:
        yield running


@pytest.fixture
def call(service):
    made = OutboundCall(service)
    yield made
    made.close()


@pytest.fixture(scope="module")
def realtime_service(tmp_path_factory):
    with Outbound(tmp_path_factory.mktemp("realtime"), "--pace", "realtime") as running:
        yield running


@pytest.fixture
def realtime_call(realtime_service):
    made = OutboundCall(realtime_service)
    yield made
    made.close()


def reply(kokoro, samples, *, end="end"):
    """Send a reply in chunks of odd sizes."""
    for chunk in np.array_split(samples, 3):
        kokoro.audio(chunk)
    kokoro.control(end)


def test_ready_line_says_pace_and_resampler(realtime_service):
    facts = realtime_service.ready()
    assert (facts["ready"], facts["engine"], facts["settings"]["pace"]) == ("outbound", "soxr-pcmu", "realtime")


def test_register_is_answered_every_time(call):
    call.register()
    call.register()


def test_register_goes_to_kokoro_until_it_has_connected(call):
    call.register()
    call.told_kokoro("REGISTER")
    call.told_kokoro("REGISTER")
    call.kokoro()
    call.logs("kokoro connected")
    assert not call.kokoro_is_told_more()


def test_reply_is_one_rtp_talkspurt(call):
    call.register()
    kokoro = call.kokoro()
    reply(kokoro, tone(1.0))
    packets, _ = call.hear("END")
    first = packets[0]
    assert [packet.marker for packet in packets] == [True] + [False] * (len(packets) - 1)
    assert {packet.ssrc for packet in packets} == {first.ssrc}
    assert {len(packet.payload) for packet in packets} == {160}
    assert [(packet.sequence - first.sequence) % 2**16 for packet in packets] == list(range(len(packets)))
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets] == [
        160 * n for n in range(len(packets))
    ]


def test_reply_sounds_as_it_did_and_lasts_as_long(call):
    call.register()
    reply(call.kokoro(), tone(1.234, hertz=1000))
    packets, _ = call.hear("END")
    assert len(packets) == math.ceil(1.234 * rtp.RATE_HZ / rtp.PACKET_SAMPLES)
    middle = heard(packets)[800:-800]
    assert loudest_hz(middle) == pytest.approx(1000, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.02)


def test_next_reply_goes_on_counting_with_a_marker(call):
    call.register()
    kokoro = call.kokoro()
    reply(kokoro, tone(0.1))
    first, _ = call.hear("END")
    reply(kokoro, tone(0.1))
    second, _ = call.hear("END")
    assert second[0].sequence == (first[-1].sequence + 1) % 2**16
    assert second[0].marker
    assert second[0].ssrc == first[0].ssrc
    assert (second[0].timestamp - first[-1].timestamp) % 2**32 >= 160


def test_other_rates_are_resampled_too(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(0.5, rate_hz=16_000), rate_hz=16_000)
    kokoro.control("end")
    packets, _ = call.hear("END")
    assert len(packets) == 25
    assert loudest_hz(heard(packets)[400:-400]) == pytest.approx(440, abs=5)


def test_audio_waits_for_the_caller(call):
    kokoro = call.kokoro()
    reply(kokoro, tone(0.2))
    call.logs("kokoro connected")
    call.register()
    packets, _ = call.hear("END")
    assert len(packets) == 10


def test_tail_comes_out_without_end(tmp_path):
    with Outbound(tmp_path, "--no-control") as service:
        call = OutboundCall(service)
        call.register()
        kokoro = call.kokoro()
        kokoro.audio(tone(0.51))
        packets = call.hear_packets(26)
        call.close()
    assert len(packets) == 26
    assert np.abs(heard(packets[-1:])[:80]).max() > 0.1


def test_bye_drains_and_is_told_to_caller_and_kokoro(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(0.5))
    kokoro.control("bye")
    packets, _ = call.hear("BYE")
    assert len(packets) == 25
    call.told_kokoro("BYE")


def test_slot_is_free_after_bye(call):
    ssrcs = []
    for _ in range(2):
        call.register()
        reply(call.kokoro(), tone(0.1), end="bye")
        packets, _ = call.hear("BYE")
        ssrcs.append(packets[0].ssrc)
        call.other_caller()
    assert len(set(ssrcs)) == 2


def test_late_bye_from_the_caller_changes_nothing(call):
    call.register()
    reply(call.kokoro(), tone(0.1), end="bye")
    call.hear("BYE")
    call.datagram("BYE")
    call.logs(f"BYE from {HOST}")
    call.register()
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_hang_up_discards_what_is_left(realtime_call):
    call = realtime_call
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(60))
    call.hear_packets(3)
    call.datagram("BYE")
    packets, _ = call.hear("BYE")
    assert len(packets) < 2000
    call.told_kokoro("BYE")
    assert kokoro.closed()


def test_slot_is_free_after_a_hang_up(realtime_call):
    call = realtime_call
    call.register()
    call.kokoro().audio(tone(60))
    call.hear_packets(1)
    call.datagram("BYE")
    call.hear("BYE")
    call.other_caller()
    call.register()
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_bye_of_the_caller_does_not_cut_what_drains(realtime_call):
    call = realtime_call
    call.register()
    reply(call.kokoro(), tone(0.4), end="bye")
    call.logs("BYE from kokoro")
    call.datagram("BYE")
    assert len(call.hear("BYE")[0]) == 20


def test_another_caller_takes_the_call_over(realtime_call):
    call = realtime_call
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(60))
    call.hear_packets(1)
    call.other_caller()
    call.register()
    assert kokoro.closed()
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_cancel_discards_what_is_unsent_since_end(realtime_call):
    call = realtime_call
    call.register()
    kokoro = call.kokoro()
    reply(kokoro, tone(0.3))
    kokoro.audio(tone(60))
    kokoro.control("cancel")
    reply(kokoro, tone(0.2))
    assert len(call.hear("END")[0]) == 15
    assert len(call.hear("END")[0]) == 10


def test_without_control_no_end_is_told(tmp_path):
    with Outbound(tmp_path, "--no-control") as service:
        call = OutboundCall(service)
        call.register()
        kokoro = call.kokoro()
        reply(kokoro, tone(0.1))
        call.logs("ignored END")
        kokoro.control("bye")
        assert len(call.hear("BYE")[0]) == 5
        call.close()


def test_wrong_hello_is_refused(call):
    call.register()
    stranger = call.kokoro(says=7)
    assert stranger.closed()
    call.service.logs(f"its HELLO says call 7, this port belongs to call {call.call_id}")
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_register_at_the_port_of_another_call_is_refused(call):
    with udp_socket() as caller:
        caller.sendto(b"REGISTER:7", (HOST, call.service.register_base + call.call_id))
        call.service.logs(f"refused REGISTER:7 from {HOST}:{caller.getsockname()[1]}")
    call.register()


def test_repeated_chunk_is_dropped(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(0.2), chunk_id=1)
    kokoro.audio(tone(0.2), chunk_id=1)
    kokoro.audio(tone(0.2), chunk_id=2)
    kokoro.control("end")
    assert len(call.hear("END")[0]) == 20
    call.logs("dropped chunk 1")


def test_missing_chunk_is_told_and_the_rest_played(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(0.2), chunk_id=1)
    kokoro.audio(tone(0.2), chunk_id=4)
    kokoro.control("end")
    assert len(call.hear("END")[0]) == 20
    call.logs("chunks 2 to 3 are missing")


def test_reconnect_starts_a_new_sequence(call):
    call.register()
    first = call.kokoro()
    first.audio(tone(0.2), chunk_id=1)
    first.close()
    call.logs("chunk 1,")
    second = call.kokoro()
    second.audio(tone(0.2), chunk_id=1)
    second.control("end")
    assert len(call.hear("END")[0]) == 20


def test_newer_connection_wins(call):
    call.register()
    older = call.kokoro()
    call.logs("kokoro connected")
    newer = call.kokoro()
    assert older.closed()
    reply(newer, tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_kokoro_is_asked_again_when_its_connection_goes(call):
    call.register()
    kokoro = call.kokoro()
    call.logs("kokoro connected")
    peer = kokoro.connection.getsockname()[1]
    kokoro.close()
    call.logs(f"{HOST}:{peer} went without BYE")
    call.told_kokoro("REGISTER")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7f\xff\xff\xff\x00\x00\x5d\xc0\x00\x00\x00\x01", "claims 2147483647 bytes"),
        (b"\x00\x00\x00\x05\x00\x00\x5d\xc0\x00\x00\x00\x01", "not a multiple of 4"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x01", "claims a sample rate of 1 Hz"),
        (b"some text or other", "bytes"),
    ],
)
def test_bad_frame_closes_only_its_connection(call, data, message):
    call.register()
    kokoro = call.kokoro()
    call.logs("kokoro connected")
    kokoro.connection.sendall(data)
    assert kokoro.closed()
    call.logs(f"closed the connection from {HOST}:{kokoro.connection.getsockname()[1]}")
    line = next(each for each in call.service.log.splitlines() if f"call {call.call_id}: closed" in each)
    assert message in line
    assert "(at byte 7 of the connection)" in line
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_truncated_frame_is_told(call):
    kokoro = call.kokoro()
    kokoro.connection.sendall(frames.encode_audio_out(tone(0.1), RATE_HZ, 1)[:-4])
    kokoro.close()
    call.logs("closed the connection from")
    assert "bytes into a frame (at byte 7 of the connection)" in call.service.log


def test_samples_that_are_no_numbers_spoil_nothing_after_them(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(np.full(240, np.nan, dtype=np.float32))
    reply(kokoro, tone(0.5))
    packets, _ = call.hear("END")
    assert loudest_hz(heard(packets)[800:-800]) == pytest.approx(440, abs=8)


def test_garbled_chunk_number_closes_its_connection(call):
    call.register()
    kokoro = call.kokoro()
    kokoro.audio(tone(0.1), chunk_id=1)
    kokoro.audio(tone(0.1), chunk_id=2**31 + 2)
    assert kokoro.closed()
    call.logs(f"closed the connection from {HOST}:{kokoro.connection.getsockname()[1]}: chunk 2147483650 cannot follow")
    call.told_kokoro("REGISTER")


def test_audio_for_nobody_is_held_for_five_minutes_and_no_longer(call):
    kokoro = call.kokoro()
    for _ in range(4):
        kokoro.audio(tone(100))
    call.logs("no caller registered while 19998 packets came, discarded")
    kokoro.audio(tone(0.1))
    kokoro.control("end")
    call.register()
    assert len(call.hear("END")[0]) < 15_000


def test_kokoro_has_to_wait_when_five_minutes_of_audio_do(realtime_call):
    call = realtime_call
    call.register()
    kokoro = call.kokoro()
    call.logs("kokoro connected")
    kokoro.connection.settimeout(1)

    def flood():
        for _ in range(20):
            kokoro.audio(tone(100))

    with pytest.raises(TimeoutError):
        flood()
    call.datagram("BYE")
    call.hear("BYE")
    assert "missing" not in call.service.log.split(f"call {call.call_id}: kokoro connected")[-1]


def test_bye_of_a_caller_who_never_registered_discards_what_kokoro_sent(call):
    kokoro = call.kokoro()
    reply(kokoro, tone(0.2))
    call.logs("kokoro connected")
    call.datagram("BYE")
    assert kokoro.closed()
    call.register()
    reply(call.kokoro(), tone(0.1))
    assert len(call.hear("END")[0]) == 5


def test_realtime_packets_leave_every_20_ms(realtime_call):
    call = realtime_call
    call.register()
    reply(call.kokoro(), tone(1.5))
    _, arrivals = call.hear("END")
    assert np.mean(np.diff(arrivals)) * 1000 == pytest.approx(20, abs=1)


def test_realtime_silence_between_replies_is_in_the_timestamps(realtime_call):
    call = realtime_call
    call.register()
    kokoro = call.kokoro()
    reply(kokoro, tone(0.1))
    first, first_at = call.hear("END")
    assert call.nothing_comes(0.3)
    reply(kokoro, tone(0.1))
    second, second_at = call.hear("END")
    between_s = ((second[0].timestamp - first[0].timestamp) % 2**32) / rtp.RATE_HZ
    assert between_s == pytest.approx(second_at[0] - first_at[0], abs=0.05)
    assert second[0].marker


def test_long_reply_of_one_call_does_not_hold_up_another(realtime_service):
    long, short = OutboundCall(realtime_service), OutboundCall(realtime_service)
    long.register()
    short.register()
    long.kokoro().audio(tone(60))
    long.hear_packets(1)
    started_s = time.monotonic()
    reply(short.kokoro(), tone(0.2))
    assert len(short.hear("END")[0]) == 10
    assert time.monotonic() - started_s < 30
    long.datagram("BYE")
    long.hear("BYE")
    long.close()
    short.close()


def test_sigterm_ends_it_in_the_middle_of_a_reply(tmp_path):
    with Outbound(tmp_path, "--pace", "realtime") as service:
        call = OutboundCall(service)
        call.register()
        call.kokoro().audio(tone(60))
        call.hear_packets(1)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(DEADLINE_S) == 0
        call.close()


@pytest.mark.parametrize("option", ["--listen", "--register"])
def test_port_in_use_is_told(tmp_path, option):
    kind = socket.SOCK_STREAM if option == "--listen" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, 0))
        if option == "--listen":
            taken.listen()
        base = taken.getsockname()[1] - 151
        service = Service("outbound", "--calls", "151:1:1", option, f"{HOST}:{base}", folder=tmp_path)
        assert service.process.wait(DEADLINE_S) == 1
    assert (
        f"cannot bind {HOST}:{base + 151}: Address already in use ({option} {HOST}:{base} + call id 151" in service.log
    )


def test_base_too_high_is_told(tmp_path):
    service = Service("outbound", "--listen", f"{HOST}:65500", folder=tmp_path)
    assert service.process.wait(DEADLINE_S) == 2
    assert "argument --listen: base 65500 + call id 157 is no port" in service.log
