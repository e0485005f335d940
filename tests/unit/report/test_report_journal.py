import math

import pytest
from report_documents import HOSTILE, RUN, WHISPER, budget, document, one_test, turn

from pytest_voiceloop.report import journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "not" / "there" / "journal.jsonl"


def written(path, *records):
    for kind, record in records:
        journal.append(path, kind, record)
    return journal.from_journal(journal.read(path))


def turn_of(nodeid, **changes):
    return "turn", {"nodeid": nodeid, **turn(**changes)}


def test_makes_the_document_that_the_run_would_have_made(path):
    test = one_test(turn(), turn(index=1), budgets=[budget()])
    without_turns = {key: value for key, value in test.items() if key != "turns"}
    turns = [("turn", {"nodeid": test["nodeid"], **one}) for one in test["turns"]]
    made = written(path, ("run", RUN), ("service", WHISPER), *turns, ("test", without_turns))
    assert made == document(test)


def test_a_test_without_an_end_is_unfinished_and_keeps_its_turns(path):
    made = written(path, ("run", RUN), turn_of("t.py::a"), turn_of("t.py::b"), ("test", one_test(nodeid="t.py::a")))
    assert [(test["nodeid"], test["outcome"], len(test["turns"])) for test in made["tests"]] == [
        ("t.py::a", "passed", 1),
        ("t.py::b", journal.UNFINISHED, 1),
    ]
    assert made["summary"][0]["turns"] == 2


def test_the_calibration_of_the_last_run_is_known(path):
    taken = [("calibration", {"before_ms": 25.0}), ("calibration", {"after_ms": 26.0})]
    old = [("run", RUN), ("calibration", {"before_ms": 99.0, "after_ms": 99.0})]
    assert written(path, *old, ("run", RUN), *taken)["reliability"]["calibration"]["change_percent"] == 4.0
    assert written(path, ("run", RUN), taken[0])["reliability"]["calibration"]["after_ms"] is None


def test_a_torn_last_line_is_left_out(path):
    written(path, ("run", RUN), turn_of("t.py::a"), turn_of("t.py::a"))
    path.write_bytes(path.read_bytes()[:-40])
    assert len(journal.from_journal(journal.read(path))["tests"][0]["turns"]) == 1


@pytest.mark.parametrize(
    "rubbish", [b"", b"\x00\xff\n", b"[1]\n", b'"x"\n', b'{"kind": "turn"}\n', b'{"kind": "new", "record": {}}\n']
)
def test_rubbish_is_left_out(path, rubbish):
    written(path, ("run", RUN))
    with path.open("ab") as stream:
        stream.write(rubbish)
    assert journal.from_journal(journal.read(path)) == document(services=())


def test_only_the_last_run_of_a_journal_counts(path):
    made = written(path, ("run", RUN), turn_of("t.py::old"), ("run", RUN), turn_of("t.py::new"))
    assert [test["nodeid"] for test in made["tests"]] == ["t.py::new"]


def test_a_record_is_one_line_whatever_it_holds(path):
    written(path, turn_of(HOSTILE, said=f"{HOSTILE}\n\u2028{HOSTILE}"), ("run", {"settings": {"x": math.nan}}))
    assert path.read_bytes().count(b"\n") == 2
    first, second = journal.read(path)
    assert first["record"]["utterance"]["text"] == f"{HOSTILE}\n\u2028{HOSTILE}"
    assert second["record"] == {"settings": {"x": None}}


def test_an_empty_journal_makes_an_empty_document():
    assert journal.from_journal([])["tests"] == []


def test_a_journal_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        journal.read(path)


def test_a_line_that_the_disk_cut_short_takes_no_other_with_it(path):
    journal.append(path, "turn", {"nodeid": "a"})
    with path.open("ab") as torn:
        torn.write(b'{"kind":"turn","rec')
    journal.append(path, "turn", {"nodeid": "b"})
    assert [line["record"]["nodeid"] for line in journal.read(path)] == ["a", "b"]


def test_a_journal_that_cannot_be_written_is_named(tmp_path):
    full = tmp_path / "journal.jsonl"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{full}'"):
        journal.append(full, "turn", {"nodeid": "a"})
