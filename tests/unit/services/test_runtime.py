"""What the services share: call slots, the log, sockets, samples."""

import logging
import socket

import numpy as np
import pytest

from voiceloop_services import runtime
from voiceloop_services.runtime import CallSlots


def test_slots_hold_their_ids_as_numbers_and_text():
    slots = CallSlots(151, 2, 2)
    assert [each in slots for each in (151, "153", "152", "155")] == [True, True, False, False]


@pytest.mark.parametrize("alias", ["0151", "00000151", " 151", "+151", "\u0661\u0665\u0661", "-151", ""])
def test_another_spelling_of_an_id_is_no_slot(alias):
    assert alias not in CallSlots(151, 2, 2)


def formatted(message, *values):
    record = logging.LogRecord("service", logging.INFO, "", 0, message, values, None)
    return runtime.OneLine("%(message)s").format(record)


def test_what_came_over_the_wire_cannot_forge_a_line_of_the_log():
    assert formatted('heard "%s"', 'so\n{"ready": "llama"}\r\x1b[2J') == ('heard "so\\n{"ready": "llama"}\\r\\x1b[2J"')


def test_other_writing_stays_readable_in_the_log():
    assert formatted("café €") == "café €"


def test_a_line_of_the_log_has_a_limit():
    line = formatted("heard %s", "x" * 10_000)
    assert len(line) < 1100
    assert line.endswith("… (10006 characters)")


def test_a_connection_with_itself_is_refused(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()
    connect = socket.create_connection
    # What the kernel does by chance: the connection's own port is the one that nobody listens at.
    monkeypatch.setattr(socket, "create_connection", lambda to, timeout: connect(to, timeout, source_address=to))
    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        runtime.connect(nobody)


def test_samples_that_are_no_sound_become_silence_or_full_scale():
    samples = np.array([0.5, np.nan, np.inf, -np.inf, 3e38, -3e38], np.float32)
    assert runtime.sound(samples).tolist() == [0.5, 0.0, 1.0, -1.0, 1.0, -1.0]
    assert runtime.sound(samples).dtype == np.float32
