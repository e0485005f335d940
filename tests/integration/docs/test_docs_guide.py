"""docs/guide.md, done as it says. Only the limits are wider, since the machine that runs this may be busy."""

import re
from pathlib import Path

import pages
import pytest

GUIDE = "docs/guide.md"
FILES = {block.file: block.text for language in ("python", "toml") for block in pages.blocks(language, GUIDE)}
OUTPUT, FAILURE = (block.text for block in pages.blocks("", GUIDE))
CALM = """
from pytest_voiceloop.call import assess, machine

assess.VOID_LATENESS_MS = 60_000
machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100
"""


@pytest.fixture
def folder(repository, monkeypatch):
    """Everything that the guide has its reader write."""
    for name, text in FILES.items():
        (repository.path / name).write_text(text)
    (repository.path / "conftest.py").write_text(CALM + FILES["conftest.py"])
    monkeypatch.setenv("COLUMNS", "80")
    return repository


def changed(folder, name, before, after):
    path = Path(folder.path / name)
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def lines_of(text):
    """What a line of output says, figures and blanks apart."""
    return [re.sub(r"[\d.]+|\s+|-(?= )|above|ok", "", line) for line in text.strip().splitlines()]


def ledger_of(failure):
    """The stages that a failure shows first."""
    return re.findall(r"^    (\S+) .*\(target", failure.partition("over their targets")[0], re.MULTILINE)


def test_its_files_give_a_waterfall(folder):
    changed(folder, "test_voice.py", 'voice_to_voice="1s", llm="200ms"', 'voice_to_voice="60s", llm="60s"')
    changed(folder, "test_brain.py", "< 1000", "< 60_000")
    result = folder.run("--voiceloop-report=html")
    result.assert_outcomes(passed=2)
    shown = result.stdout.str().partition("=== Pipeline Timing Summary")[2]
    expected = lines_of(OUTPUT)[1:]
    assert lines_of(shown)[1 : 1 + len(expected)] == expected
    (turn,) = folder.records["test_answers_in_time"]["turns"]
    assert list(turn["ledgers"]["complete"]["stages_ms"]) == ["stt", "llm", "tts+transfer"]
    assert (folder.results / "report.html").is_file()


def test_a_slow_brain_is_named(folder):
    changed(folder, "brain.py", "time.sleep(0.05)", "time.sleep(0.5)")
    result = folder.run("test_voice.py")
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    assert "llm is over its limit of 200 ms" in shown
    assert ledger_of(shown.partition("llm is over")[2]) == ledger_of(FAILURE)
    assert re.search(r"over their targets: .*\bllm by", shown)
    assert "voiceloop log: brain" in shown
