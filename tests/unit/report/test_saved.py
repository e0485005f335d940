"""``voiceloop report``: any report again, from a run.json or a journal."""

import json
import os

import pytest
from report_documents import HOSTILE, one_test, turn
from whole_document import FACTS, SERVICE, whole

from pytest_voiceloop import baselines
from pytest_voiceloop.cli import main
from pytest_voiceloop.report import journal, saved
from pytest_voiceloop.report.render import FORMATS, render

AUDIO = "run-1/audio/one-reply.wav"


@pytest.fixture
def results(tmp_path):
    """A results folder: run.json, a baseline, and the folder of its run with journal and a sound."""
    folder = tmp_path / "results"
    (folder / AUDIO).parent.mkdir(parents=True)
    (folder / AUDIO).write_bytes(b"RIFF")
    (folder / "baselines").mkdir()
    told = whole() | {"tests": [one_test(turn(audio={"reply": AUDIO}))]}
    for path in ("run.json", "baselines/main.json"):
        (folder / path).write_text(render(told, "json"))
    lines = (
        ("run", FACTS),
        ("service", SERVICE),
        ("turn", {"nodeid": "t.py::a", **turn(audio={"reply": AUDIO})}),
    )
    for kind, record in lines:
        journal.append(folder / "run-1" / "journal.jsonl", kind, record)
    return folder


def refused(capsysbinary, *arguments):
    """Run the command, which must exit with 2 and write nothing; returns what it complained."""
    assert main(["report", *map(str, arguments)]) == 2
    said = capsysbinary.readouterr()
    assert said.out == b""
    complaint = said.err.decode()
    assert complaint.startswith("voiceloop report: ")
    assert "Traceback" not in complaint
    assert complaint.count("\n") == 1
    return complaint


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_comes_out_as_the_run_wrote_it(tmp_path, capsysbinary, form):
    (tmp_path / "run.json").write_text(render(whole(), "json"))
    page = tmp_path / "page"
    assert main(["report", str(tmp_path / "run.json"), "--format", form, "-o", str(page)]) == 0
    assert capsysbinary.readouterr() == (b"", b"")
    assert page.read_text(encoding="utf-8") == render(whole(), form, audio_folder=".")


def test_without_a_file_it_goes_to_standard_output_as_utf_8(tmp_path, capsysbinary):
    (tmp_path / "run.json").write_text(render(whole(), "json"))
    assert main(["report", str(tmp_path / "run.json"), "--format", "text"]) == 0
    assert capsysbinary.readouterr().out.decode("utf-8") == render(whole(), "text")


def test_a_journal_makes_what_is_known(results, capsysbinary):
    assert main(["report", str(results / "run-1" / "journal.jsonl"), "--format", "json"]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert [(test["nodeid"], test["outcome"], len(test["turns"])) for test in told["tests"]] == [
        ("t.py::a", journal.UNFINISHED, 1)
    ]
    assert told["services"] == [SERVICE]


def test_a_journal_of_one_line_is_no_document(tmp_path):
    journal.append(tmp_path / "journal.jsonl", "run", FACTS)
    assert saved.load(tmp_path / "journal.jsonl")["settings"] == FACTS["settings"]


@pytest.mark.parametrize("kept", ["run.json", "baselines/main.json", "run-1/journal.jsonl"])
@pytest.mark.parametrize("page", ["page.html", "results/run-1/page.html", "other/deep/page.html"])
def test_a_page_finds_the_audio_from_where_it_is_written(results, kept, page):
    path = results.parent / page
    assert main(["report", str(results / kept), "--format", "html", "-o", str(path)]) == 0
    expected = f"{os.path.relpath(results, path.parent)}/{AUDIO}".removeprefix("./")
    assert expected in path.read_text()
    assert saved.audio_place(saved.load(results / kept), results / kept) == results


def test_a_page_on_standard_output_finds_the_audio_from_here(results, monkeypatch, capsysbinary):
    monkeypatch.chdir(results / "run-1")
    assert main(["report", "../run.json", "--format", "html"]) == 0
    assert f"../{AUDIO}" in capsysbinary.readouterr().out.decode()


@pytest.mark.parametrize("kept", ["run.json", "run-1/journal.jsonl"])
def test_where_the_audio_is_gone_its_paths_are_as_they_were(results, kept):
    (results / AUDIO).unlink()
    assert saved.audio_place(saved.load(results / kept), results / kept) == results


def test_a_journal_is_compared_as_its_run_would_be(results, tmp_path, capsys):
    journal_path, whole_run = results / "run-1" / "journal.jsonl", tmp_path / "whole.json"
    for number in range(20):
        record = {"nodeid": "t.py::a", **turn(f"u{number}")}
        journal.append(journal_path, "turn", record)
    whole_run.write_text(render(saved.load(journal_path), "json"))
    for base, head in ((journal_path, whole_run), (whole_run, journal_path)):
        assert main(["compare", "--json", str(base), str(head)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["verdict"], found["refused"], found["rows"][0]["n"]) == ("same", [], 21)


def test_what_cannot_be_read_cannot_be_compared(results, capsys):
    assert main(["compare", str(results / "run.json"), str(results / "no.json")]) == 2
    assert "voiceloop compare: " in capsys.readouterr().err


def test_a_baseline_that_is_wrong_within_is_refused_before_anything_is_measured(results):
    kept = results / "baselines" / "main.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"tests": None}))
    with pytest.raises(saved.SavedError, match=r"main\.json cannot be compared: TypeError"):
        baselines.kept(results, "main")


def test_paths_are_from_here(results, monkeypatch):
    monkeypatch.chdir(results)
    assert main(["report", "run.json", "--format", "summary", "-o", "out/page.md"]) == 0
    assert (results / "out" / "page.md").read_text().startswith("## voiceloop")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds neither the JSON of a run nor a line of a journal; name a run.json"),
        (b"\x00\xff", "holds neither"),
        (b"[]", "holds neither"),
        (b'{"nodeid": 1}', "holds neither"),
        (b'{"schema_version": 2}', "has schema_version 2, and this voiceloop reads 1; use the version"),
        (b'{"schema_version": 1}', "lacks environment, settings, services, tests, summary, so it is no whole run.json"),
        (b'{"kind": "turn", "record": {"x": 1}}', "cannot be made into a run: a record in it is not whole (KeyError"),
        (b'{"kind": "test", "record": {"turns": 1}}', "cannot be made into a run"),
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_file_that_is_no_run_is_told_with_the_remedy(tmp_path, capsysbinary, content, complaint, form):
    path = tmp_path / "some"
    path.write_bytes(content)
    told = refused(capsysbinary, path, "--format", form)
    assert f"{path} {complaint}" in told


def test_a_run_that_was_changed_by_hand_is_told_with_the_remedy(tmp_path, capsysbinary):
    broken = whole()
    del broken["tests"][0]["turns"][1]["utterance"]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(broken))
    for form in ("html", "text"):
        told = refused(capsysbinary, path, "--format", form)
        assert f"{path} cannot be shown as {form}: " in told
        assert "docs/run.schema.json" in told


def test_a_file_that_is_not_there_a_folder_and_one_that_cannot_be_written(results, capsysbinary):
    assert "is not there; name a run.json" in refused(capsysbinary, results / "no.json", "--format", "json")
    assert "is a folder; name the run.json in it" in refused(capsysbinary, results, "--format", "json")
    told = refused(capsysbinary, results / "run.json", "--format", "json", "-o", results / "run.json" / "x")
    assert f"{results / 'run.json' / 'x'} cannot be written" in told


def test_the_journal_of_a_run_that_was_killed_is_named(results, capsysbinary):
    (results / "run.json").unlink()
    told = refused(capsysbinary, results / "run.json", "--format", "text")
    assert f"has not come to its end; name its journal, {results / 'run-1' / 'journal.jsonl'}" in told


def test_what_was_there_stays_where_the_report_cannot_be_made(results):
    page = results / "page.txt"
    page.write_text("before")
    assert main(["report", str(results / "no.json"), "--format", "text", "-o", str(page)]) == 2
    assert page.read_text() == "before"


def test_hostile_words_come_through(tmp_path, capsysbinary):
    journal.append(tmp_path / "journal.jsonl", "turn", {"nodeid": HOSTILE, **turn(HOSTILE, said=HOSTILE)})
    for form in FORMATS:
        assert main(["report", str(tmp_path / "journal.jsonl"), "--format", form]) == 0
        assert b"<img src=x" not in capsysbinary.readouterr().out or form in ("json", "text")
