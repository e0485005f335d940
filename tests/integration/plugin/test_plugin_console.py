"""The console script, as a person runs it."""

import json
import os
import sys

import pytest

VOICELOOP = (sys.executable, "-m", "pytest_voiceloop.cli")


def test_demo_passes_labels_itself_and_writes_a_page(repository, monkeypatch):
    # Shorter than its own corpus, which is tested by being collected.
    monkeypatch.setenv("VOICELOOP_CORPUS", "corpus")
    # No conftest of ours is read by it.
    (repository.path / "patient.py").write_text(repository.PATIENT)
    monkeypatch.setenv("PYTEST_PLUGINS", "patient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository.path), *sys.path]))
    result = repository.pytester.run(*VOICELOOP, "demo", "--dir", "shown")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*scripted · booting whisper", "SCRIPTED (no model) *", "script| written: */shown/report.html"]
    )
    turn_lines = [line for line in result.outlines if " total " in line and " v2v " in line]
    assert len(turn_lines) >= 3
    assert all("SCRIPTED (no model)" in line for line in turn_lines)
    result.stdout.fnmatch_lines(["script| voiceloop: *"])
    shown = repository.path / "shown"
    assert "SCRIPTED" in (shown / "report.html").read_text()
    document = repository.documented(shown / "run.json")
    # On a busy machine turns are said again.
    first_tries = [[turn["warmup"] for turn in test["turns"] if not turn["repeat"]] for test in document["tests"]]
    assert first_tries == [[True, False, False]]
    assert document["summary"][0]["synthetic"] is True


def test_the_corpus_that_comes_with_the_plugin_is_used_where_none_is_named(repository):
    repository.tests("def test_it(voiceloop_utterance): assert voiceloop_utterance.path.is_file()")
    outcomes = repository.check().parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] >= 10


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["", "json"])
def test_doctor_names_a_cure_for_each_missing_thing(repository, monkeypatch, arguments):
    monkeypatch.setenv("VOICELOOP_MODELS", str(repository.path / "empty"))
    result = repository.pytester.run(*VOICELOOP, "doctor", *arguments)
    assert result.ret == 1
    if not arguments:
        result.stdout.fnmatch_lines(["ok       Python: *", "MISSING  model *voiceloop models pull *", "*ports: *"])
        return
    told = json.loads(result.stdout.str())
    assert told["ok"] is False
    assert {tuple(finding) for finding in told["findings"]} == {("what", "ok", "found", "cure")}
    assert all(finding["cure"] or finding["ok"] for finding in told["findings"])
    whats = {finding["what"].partition(" ")[0] for finding in told["findings"]}
    assert {"Python", "model", "ports", "cores", "free"} <= whats


def test_init_writes_a_configuration_that_doctor_can_read(repository):
    result = repository.pytester.run(*VOICELOOP, "init")
    assert result.ret == 0
    assert result.outlines == [
        "voiceloop.toml is written. Correct its commands and addresses, then: voiceloop doctor voiceloop.toml"
    ]
    result = repository.pytester.run(*VOICELOOP, "doctor")
    result.stdout.fnmatch_lines(
        [
            "ok * */voiceloop.toml: services whisper, llama, kokoro, agent; links agent → whisper.http *; profiles ci",
            "ok *  ports: enough free ones",
            f"MISSING  service whisper: *.command: {repository.path}/whisper-server does not exist  →  build it, or *",
            "MISSING  service kokoro: *.address: nothing answers at 127.0.0.1:8880 * →  start kokoro before *",
            "ok *  service agent: *python*",
        ]
    )
    assert result.ret == 1


def test_doctor_finds_nothing_wrong_where_nothing_is(repository):
    path = repository.path / "elsewhere.toml"
    path.write_text('[services.ear]\ncommand = ["{python}", "ear.py"]\n')
    result = repository.pytester.run(*VOICELOOP, "doctor", path)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*: services ear; links none; caller voiceloop; judge none; no profile"])
    result.stdout.no_fnmatch_line("*model*")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("][", "voiceloop.toml:1:1: this is no TOML: Invalid statement  →  correct it there, or just before"),
        ("[service]", "voiceloop.toml:1: service: there is no such key  →  did you mean 'services'? There are *"),
        ("[profiles.ci]\ntotal = 2", 'voiceloop.toml:1: profiles.ci: total: 2 has no unit  →  write "2s" or "2ms"'),
    ],
)
def test_doctor_says_what_is_wrong_with_a_configuration(repository, text, wanted):
    (repository.path / "voiceloop.toml").write_text(text)
    result = repository.pytester.run(*VOICELOOP, "doctor")
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"MISSING  configuration: {repository.path}/{wanted}"])


def test_doctor_of_the_changed_reference_stack_looks_at_its_models(repository, monkeypatch):
    monkeypatch.setenv("VOICELOOP_MODELS", str(repository.path / "empty"))
    text = 'extends = "reference"\n[services.llama]\ncommand = ["./mine"]\n'
    (repository.path / "voiceloop.toml").write_text(text)
    result = repository.pytester.run(*VOICELOOP, "doctor")
    result.stdout.fnmatch_lines(
        ["MISSING  model *voiceloop models pull *", "MISSING  service llama: * does not exist *"]
    )


@pytest.mark.parametrize("there", ["voiceloop.toml", "pyproject.toml"])
def test_init_overwrites_nothing(repository, there):
    path = repository.path / there
    path.write_text("[tool.voiceloop]\n")
    result = repository.pytester.run(*VOICELOOP, "init")
    assert result.ret == 2
    assert result.errlines == [f"voiceloop init: {there} is there already; change that one, or remove it first"]
    assert path.read_text() == "[tool.voiceloop]\n"
    assert not (repository.path / "voiceloop.toml").exists() or there == "voiceloop.toml"


def test_models_passes_everything_through(repository, monkeypatch):
    monkeypatch.setenv("VOICELOOP_MODELS", str(repository.path / "empty"))
    result = repository.pytester.run(*VOICELOOP, "models", "list", "--json")
    assert result.ret == 0
    assert "kokoro-82m-int8" in result.stdout.str()
    result = repository.pytester.run(*VOICELOOP, "models", "pull", "no-such-model")
    assert result.ret != 0
    assert "no-such-model" in result.stdout.str() + result.stderr.str()


def test_an_unknown_command_lists_the_known_ones(repository):
    result = repository.pytester.run(*VOICELOOP, "phone")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["*invalid choice: 'phone'*demo*init*doctor*models*corpus*"])
