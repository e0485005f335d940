"""What a failure shows of a log, and exit codes in words."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_voiceloop.stack.process import (
    MissingPrerequisiteError,
    Process,
    StackError,
    describe_exit,
    json_objects,
)


def process(log: Path) -> Process:
    return Process("fake", ["fake"], log, subprocess.Popen(["true"]), -1, 1.0, 0)


def tail(folder: Path, content: bytes) -> str:
    log = folder / "fake.log"
    log.write_bytes(content)
    made = process(log)
    made.popen.wait()
    return made.log_tail()


def test_the_last_forty_lines_are_shown(tmp_path: Path) -> None:
    shown = tail(tmp_path, b"".join(b"line %d\n" % n for n in range(100)))
    assert shown.splitlines() == [f"line {n}" for n in range(60, 100)]


def test_an_unfinished_last_line_is_shown(tmp_path: Path) -> None:
    assert tail(tmp_path, b"one\ntw") == "one\ntw"


def test_bytes_that_are_no_text_are_shown_somehow(tmp_path: Path) -> None:
    assert tail(tmp_path, b"\xff\xfe\nend\n").endswith("end")


def test_controls_are_written_out_so_that_no_terminal_obeys_them(tmp_path: Path) -> None:
    shown = tail(tmp_path, "\x1b[2Jred\x00\n字\u202e\n".encode())
    assert shown.splitlines() == ["\\x1b[2Jred\\x00", "字\\u202e"]


def test_what_a_service_lacks_cannot_drive_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "fake.log"
    log.write_text(json.dumps({"missing": "a \x1b[2Jmodel", "cure": "none\u202e"}))
    made = process(log)
    made.popen = subprocess.Popen(["sh", "-c", "exit 69"])
    made.popen.wait()
    with pytest.raises(MissingPrerequisiteError, match=r"^fake needs a \\x1b\[2Jmodel\. Cure: none\\u202e$"):
        made.check()


def test_one_endless_line_does_not_fill_the_message(tmp_path: Path) -> None:
    assert len(tail(tmp_path, b"x" * 5_000_000)) <= 65_536


def test_an_empty_log_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "fake.log").touch()
    made = process(tmp_path / "fake.log")
    made.popen.wait()
    assert "(the log is empty)" in made.account()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exit code 3"),
        (127, "exit code 127 (the command was not found"),
        (137, "killed by signal 9"),
        (-9, "its shim was killed by signal 9"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code).startswith(words)


def test_what_a_service_counted_for_a_call_is_added_up(tmp_path: Path) -> None:
    log = tmp_path / "fake.log"
    before = b'{"call": "151", "counted": {"tokens": 100}}\n'
    log.write_bytes(
        before + b'12:00 INFO {"call": "151", "counted": {"tokens": 3, "frames": 250}}\n'
        b'{"call": "153", "counted": {"tokens": 50}}\n'
        b'{"call": "151", "counted": {"tokens": 4, "note": "no number"}}\n'
        b'{"call": "151", "counted": 7}\n{"counted"\n'
    )
    made = process(log)
    made.popen.wait()
    assert made.counted_since(len(before), "151") == {"tokens": 7, "frames": 250}


def test_stamps_are_read_by_call_and_in_order_among_other_lines(tmp_path: Path) -> None:
    earlier = b'{"call": "151", "stamped": {"sent": 1}}\n'
    later = (
        b'12:00:00 INFO call 151: {"call": "151", "stamped": {"sent": 20}}\n'
        b'{"call": "151", "counted": {"tokens": 3}}\n'
        b'{"call": "153", "stamped": {"sent": 30}}\n'
        b'{"call": "151", "stamped": {"received": 35}}\n'
        b'{"call": "151", "stamped": {"sent": 40}}\n'
        b'{"stamped": {"sent": 50}}\n{"call": "151", "stamped": {"sent": 60}'
    )
    log = tmp_path / "fake.log"
    log.write_bytes(earlier + later)
    made = process(log)
    made.popen.wait()
    assert made.stamped_since(len(earlier)) == {
        ("151", "sent"): [20, 40],
        ("153", "sent"): [30],
        ("151", "received"): [35],
    }
    assert made.counted_since(len(earlier), "151") == {"tokens": 3}


def test_a_full_disk_is_named_with_what_was_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "fake.log"
    log.touch()
    made = process(log)
    made.popen.wait()
    assert "log is full" not in made.account()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert "the disk that holds the log is full\n(the log is empty)" in made.account()


def test_a_line_that_is_too_deep_to_be_parsed_is_none_of_ours() -> None:
    deep = '{"counted": ' + "[" * 100_000
    assert list(json_objects([deep, '{"counted": {}}'])) == [{"counted": {}}]


def test_what_a_server_sent_reaches_no_terminal_raw() -> None:
    assert str(StackError("it said:\n\x1b[2J\x07gone")) == "it said:\n\\x1b[2J\\x07gone"
