import os

import pytest

from pytest_voiceloop.report.files import write_atomically


def test_makes_folders_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b" / "run.json"
    write_atomically(path, "old")
    write_atomically(path, "né")
    assert path.read_bytes() == "né".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_surrogate_pair_does_not_lose_the_report(tmp_path):
    write_atomically(tmp_path / "page", "a\ud800b")
    assert (tmp_path / "page").read_text() == "a\\ud800b"


def test_others_may_read_a_report(tmp_path):
    write_atomically(tmp_path / "page", "")
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o644
