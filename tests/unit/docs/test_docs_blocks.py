"""What stands in the blocks of the pages is good. Python's are run by tests/integration/docs."""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pages
import pytest
import soundfile

from pytest_voiceloop import cli, settings
from pytest_voiceloop.call.corpus import load_corpus
from pytest_voiceloop.config import load
from voiceloop_services.models import __main__ as models

NOT_RUN = {
    "python -m venv .venv": "Python's own, and it takes a while",
    ". .venv/bin/activate": "changes a shell, and nothing else",
    "git worktree add ../base origin/main": "git's own; test_plugin_comparisons.py phones a second checkout",
    'git worktree add ../base "$(git merge-base HEAD origin/main)"': "as above",
    'git worktree add ../base "$(git merge-base HEAD "origin/$GITHUB_BASE_REF")"': "as above",
}
"""Commands that no test tries, and why."""
OUTPUT = {
    "README.md": "three runs on models: a turn, a comparison, the benchmark",
    "docs/configuration.md": "a message; test_config_docs.py provokes it",
    "docs/guide.md": "test_docs_guide.py compares it with the guide's own run",
    "docs/performance.md": "three runs of benchmarks/compare.py on models",
}
"""Pages with blocks that show what a program said, and how we know."""
WORKFLOW = "docs/voiceloop-ci.yml"
PROJECT = tomllib.loads(pages.read("pyproject.toml"))["project"]


def workflow_commands():
    """The lines that its steps run, folded ones in one."""
    text = re.sub(r">-\n\s+|(?<=[^\n])\n {10}(?=--)", " ", pages.read(WORKFLOW))
    return re.findall(r"run: +([^|\n]+)$", text, re.MULTILINE)


COMMANDS = sorted(
    {
        (page, part)
        for page, line in [*pages.commands(), *((WORKFLOW, line) for line in workflow_commands())]
        for part in line.split(" && ")
    }
)


class Understood(Exception):  # noqa: N818 (it is none)
    """A command line was parsed; it is not obeyed."""


def understood_by_pytest(words, pytester, _):
    settings.read(pytester.parseconfig(*words))


def understood_by_voiceloop(words, _, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def only_parse(self, given=None):
        raise Understood(parse(self, given))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    with pytest.raises(Understood):
        models.main(words[1:]) if words[0] == "models" else cli.main(words)


def understood_by_make(words, _, __):
    subprocess.run(["make", "--dry-run", *words], cwd=pages.ROOT, check=True, capture_output=True, timeout=60)


def understood_by_pip(words, _, __):
    """What is to be installed is there to be: a registry is asked for nothing."""
    assert words[0] == "install"
    wanted = next(word for word in words[1:] if not word.startswith("-"))
    if "-r" in words:
        assert all((pages.ROOT / page).with_name(wanted).is_file() for page, line in COMMANDS if wanted in line)
        return
    name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?", wanted).groups()
    assert name in (PROJECT["name"], ".")
    assert set(filter(None, (extras or "").split(","))) <= set(PROJECT["optional-dependencies"])


UNDERSTOOD = {
    "pytest": understood_by_pytest,
    "voiceloop": understood_by_voiceloop,
    "make": understood_by_make,
    "pip": understood_by_pip,
}


@pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if one[1] not in NOT_RUN])
def test_a_command_is_understood(page, command, pytester, monkeypatch):
    for name in ("VOICELOOP_CONFIG", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    words = shlex.split(command)
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    assert words[0] in UNDERSTOOD, f"{page}: nobody tries {command!r}; teach this test to, or say why not in NOT_RUN"
    UNDERSTOOD[words[0]](words[1:], pytester, monkeypatch)


def test_what_is_wrong_is_not_understood(pytester, monkeypatch):
    with pytest.raises(pytest.UsageError):
        understood_by_pytest(["--voiceloop-bass=../base"], pytester, monkeypatch)
    for words in (["reprot"], ["demo", "--dri", "x"], ["models", "push"]):
        with pytest.raises(SystemExit):
            understood_by_voiceloop(words, pytester, monkeypatch)
    with pytest.raises(subprocess.CalledProcessError):
        understood_by_make(["pipelin"], pytester, monkeypatch)


def test_what_is_not_run_is_written_somewhere():
    assert set(NOT_RUN) <= {command for _, command in COMMANDS}


def test_the_workflow_finds_the_catalogue(tmp_path, monkeypatch):
    script = re.search(r"run: \|\n((?: {10}.*\n)+)", pages.read(WORKFLOW))[1]
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    subprocess.run(["bash", "-euc", script], check=True, timeout=60)
    assert re.fullmatch(r"key=[0-9a-f]{16}\n", (tmp_path / "output").read_text())


@pytest.mark.parametrize("block", pages.blocks("toml"), ids=str)
def test_a_configuration_is_good(block, tmp_path):
    values = tomllib.loads(block.text)
    if "project" in values:
        assert block.page == "docs/protocols.md"  # tests/unit/wire/test_protocol_docs.py installs it
        return
    path = tmp_path / ("pyproject.toml" if "tool" in values else "voiceloop.toml")
    path.write_text(block.text)
    found = load(path)
    assert found.stack() or found.profiles
    for name in found.profiles:
        assert found.profile(name)


def test_the_corpus_is_good(tmp_path):
    (block,) = pages.blocks("json")
    (tmp_path / "manifest.json").write_text(block.text)
    described = json.loads(block.text)["utterances"]
    for utterance in described:
        soundfile.write(tmp_path / utterance["file"], [0.0] * 80_000, 8000)
    assert [utterance.id for utterance in load_corpus(tmp_path)] == [utterance["id"] for utterance in described]


def test_blocks_of_other_kinds_are_accounted_for():
    languages = {name for page in pages.PAGES for name in re.findall(r"^```(\w+)$", pages.read(page), re.MULTILINE)}
    assert languages == {"python", "toml", "json", "console"}
    # Those within a list would not be found.
    assert not [page for page in pages.PAGES if re.search(r"^[ \t]+```", pages.read(page), re.MULTILINE)]
    assert {block.page for block in pages.blocks("")} == set(OUTPUT)


@pytest.mark.parametrize("page", pages.PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", pages.read(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (pages.ROOT / page).parent / path if path else pages.ROOT / page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target
