"""A voiceloop.toml says what to boot and, by profile, what to hold every test against."""

import socket
from pathlib import Path

import pytest

SCRIPTED = """
extends = "reference"
options.whisper = ["--engine", "scripted", "--endpoint-silence-ms", "300", "--endpoint-silence-unfinished-ms", "700"]
options.llama = ["--engine", "scripted"]
options.kokoro = ["--engine", "scripted"]

[profiles.strict]
total = "1ms"
transcript_wer = 1

[profiles.lenient]
voice_to_voice = "60s"
total = "60s"
"""
PHONES = """
    import pytest

    def test_one(voiceloop_simulator):
        voiceloop_simulator.say("clip.wav", text="This is a scripted transcript.")
"""


@pytest.fixture
def folder(repository):
    """A repository whose stack is that of its voiceloop.toml."""
    (repository.path / "conftest.py").write_text(repository.PATIENT)
    (repository.path / "voiceloop.toml").write_text(SCRIPTED)
    return repository


def refused(folder, *arguments):
    """Run pytest, which must refuse; returns the one line that it said."""
    result = folder.check(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    (said,) = [line for line in result.stderr.lines if line.startswith("ERROR: ")]
    return said.removeprefix("ERROR: ")


def test_its_stack_is_booted_and_its_profile_judges_what_no_marker_does(folder):
    folder.tests(
        PHONES
        + """
    @pytest.mark.latency(total="60s")
    def test_marked(voiceloop_simulator):
        voiceloop_simulator.say("clip.wav", text="This is a scripted transcript.")

    def test_does_not_phone(voiceloop_corpus):
        pass
    """
    )
    result = folder.run("--voiceloop-profile=strict")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["total is over its limit of 1 ms (profile strict in voiceloop.toml)"])
    sources = {
        name: [(budget["metric"], budget["source"]) for budget in record["budgets"]]
        for name, record in folder.records.items()
    }
    of_profile = "profile strict in voiceloop.toml"
    assert sources["test_one"] == [("total", of_profile), ("transcript_wer", of_profile)]
    assert sources["test_marked"][0] == ("total", "@pytest.mark.latency on test_voice.py::test_marked")
    assert sources["test_marked"][1:] == [("transcript_wer", of_profile)]


def test_at_the_pace_of_a_line_a_profile_leaves_out_what_means_nothing_there(folder):
    folder.tests(PHONES)
    result = folder.run("--voiceloop-profile=lenient", "--voiceloop-pace=realtime")
    result.assert_outcomes(passed=1)
    assert [budget["metric"] for budget in folder.records["test_one"]["budgets"]] == ["voice_to_voice"]


def test_a_simulator_that_is_asked_for_late_is_judged_too(folder):
    folder.tests("""
        def test_late(request):
            simulator = request.getfixturevalue("voiceloop_simulator")
            simulator.say("clip.wav", text="This is a scripted transcript.")
    """)
    result = folder.run("--voiceloop-profile=strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["total is over its limit of 1 ms (profile strict in voiceloop.toml)"])


def test_a_service_that_cannot_be_started_is_named_with_its_place(folder):
    text = 'extends = "reference"\n\n[services.llama]\ncommand = ["./llama-server"]\n'
    (folder.path / "voiceloop.toml").write_text(text)
    folder.tests(PHONES)
    result = folder.run()
    result.assert_outcomes(errors=1)
    place, program = f"{folder.path}/voiceloop.toml:3: services.llama.command", f"{folder.path}/llama-server"
    result.stdout.fnmatch_lines([f"*{place}: {program} does not exist; build it, or correct the command"])
    assert "Traceback" not in result.stdout.str()


STAR = """
[services.ears]
command = ["{{python}}", "{here}/server.py", "{{ears.http}}"]
ports = {{ http = "tcp" }}

[services.brain]
command = ["{{python}}", "{here}/server.py", "{{brain.http}}"]
ports = {{ http = "tcp" }}

[services.mouth]
command = "{{python}} {here}/server.py {{mouth.http}}"
ports = {{ http = "tcp" }}

[services.agent]
command = ["{{python}}", "{here}/agent.py", "{{agent.ws}}", "{{ears.http}}", "{{brain.http}}", "{{mouth.http}}"]
ports = {{ ws = "tcp" }}

[[links]]
from = "agent"
to = "brain.http"
protocol = "openai-chat"
stamps = "t2"
also = "t1"

[caller]
protocol = "websocket"
url = "ws://{{agent.ws}}/"
end_of_reply = "quiescence"

[judge]
protocol = "openai"
service = "ears.http"
"""


def test_a_stack_of_ones_own_is_phoned_and_measured(folder):
    here = Path(__file__).parents[1] / "star"
    (folder.path / "voiceloop.toml").write_text(STAR.format(here=here))
    folder.tests("""
        def test_it(voiceloop_simulator):
            turn = voiceloop_simulator.say("clip.wav", text="The box was thrown beside the parked truck.")
            assert turn.transcript.wer == 0
            assert turn.reply.text == "It was a blue box, I think."
            assert turn.judge == "openai"
    """)
    folder.run().assert_outcomes(passed=1)
    (turn,) = folder.records["test_it"]["turns"]
    assert list(turn["ledgers"]["complete"]["stages_ms"]) == ["stt", "llm", "tts+transfer", "retranscription"]
    assert {service["name"] for service in folder.document["services"]} == {"ears", "brain", "mouth", "agent"}


# --- what is wrong with it stops the run


def test_a_configuration_that_will_not_do_is_said_once(folder):
    (folder.path / "voiceloop.toml").write_text('extends = "reference"\nlink = 3\n')
    folder.tests(PHONES + PHONES.replace("test_one", "test_two"))
    said = refused(folder)
    assert said.startswith(f"{folder.path}/voiceloop.toml:2: link: there is no such key; did you mean 'links'?")


def test_tests_that_are_not_ours_do_not_mind(folder):
    (folder.path / "voiceloop.toml").write_text("][")
    folder.tests("def test_it(): pass")
    folder.check().assert_outcomes(passed=1)


def test_workers_say_it_in_their_tests(folder):
    (folder.path / "voiceloop.toml").write_text("][")
    folder.tests(PHONES)
    result = folder.run("-n1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*voiceloop.toml:1:1: this is no TOML*"])


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (
            "strikt",
            "voiceloop.toml:6: profiles: there is no profile 'strikt'; did you mean 'strict'? There are alone",
        ),
        ("wrong", "voiceloop.toml:14: profiles.wrong: there is no 'totl'; did you mean total? Known are total"),
        ("bare", "voiceloop.toml:16: profiles.bare: total: 2 has no unit; write"),
        ("share", "voiceloop.toml:18: profiles.share: loop_wer=15 is no share; write errors per word from 0 to 1"),
        ("alone", "voiceloop.toml:20: profiles.alone: percentile stands here without a latency; add one"),
        ("number", "voiceloop.toml:23: profiles.number: 3 will not do; write a table"),
    ],
)
def test_a_profile_that_will_not_do(folder, profile, wanted):
    further = '\n[profiles.wrong]\ntotl = "2s"\n[profiles.bare]\ntotal = 2\n[profiles.share]\nloop_wer = 15\n'
    further += "[profiles.alone]\npercentile = 95\n[profiles]\nnumber = 3\n"
    (folder.path / "voiceloop.toml").write_text(SCRIPTED.strip() + "\n" + further)
    folder.tests(PHONES)
    assert wanted in refused(folder, f"--voiceloop-profile={profile}")


def test_a_profile_without_a_configuration(repository):
    repository.tests(PHONES)
    said = refused(repository, "--voiceloop-profile=ci")
    assert said.startswith("--voiceloop-profile=ci: there is no voiceloop.toml in ")
    assert said.endswith("; write one (voiceloop init), or name it with --voiceloop-config")


# --- where it lies


def test_it_is_named_by_option_environment_or_ini(folder, monkeypatch):
    folder.tests(PHONES)
    (folder.path / "voiceloop.toml").unlink()
    folder.pytester.makeini("[pytest]\nvoiceloop_config = of-ini.toml\n")
    assert f"{folder.path}/of-ini.toml: it cannot be read (No such file or directory); correct" in refused(folder)
    monkeypatch.setenv("VOICELOOP_CONFIG", "of-environment.toml")
    assert f"{folder.path}/of-environment.toml: " in refused(folder)
    assert f"{folder.path}/of-option.toml: " in refused(folder, "--voiceloop-config=of-option.toml")


def test_a_pyproject_beside_the_tests_is_found(folder):
    (folder.path / "voiceloop.toml").unlink()
    (folder.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n[tool.voiceloop]\nextends = 'other'\n")
    folder.tests(PHONES)
    assert f"{folder.path}/pyproject.toml:3: tool.voiceloop.extends: 'other' is none of its values" in refused(folder)


def test_what_runs_already_stands_in_the_document_with_its_address(folder):
    with socket.create_server(("127.0.0.1", 0)) as agent:
        address = f"127.0.0.1:{agent.getsockname()[1]}"
        (folder.path / "voiceloop.toml").write_text(f'[services.agent]\naddress = {{ ws = "{address}" }}\n')
        folder.tests("def test_boot(voiceloop_stack): pass")
        folder.run("--voiceloop-report=html").assert_outcomes(passed=1)
    assert folder.document["services"] == [
        {
            "name": "agent",
            "pid": None,
            "base": False,
            "address": {"ws": address},
            "cold_start_ms": None,
            "restarts": 0,
        }
    ]
    assert address in (folder.results / "report.html").read_text()
