"""What a configuration describes becomes a stack."""

from pathlib import Path

import pytest

from pytest_voiceloop.config import find, load
from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Caller, Judge, Link, Port, Ready, Service, Slots, StackSpec

WHOLE = """
[slots]
first = 1
count = 2

[services.brain]
command = ["./brain", "--port", "{brain.http.port}", "--seed", "{seed}", "--pace={pace}"]
cwd = "build"
env = { MOUTH = "{mouth.http}" }
ports = { http = "tcp", tell = { protocol = "udp", fixed = 8080, per_call = true } }
ready = { http = "http://{brain.http}/health" }
cold_start = "90s"
stop_signal = "SIGINT"
grace = "500ms"

[services.mouth]
address = { http = "mouth.example:9000" }
ready = { tcp = "{mouth.http}", send = "hello", expect = "ready" }

[[links]]
from = "brain"
to = "mouth.http"
protocol = "voiceloop-text"
stamps = "t2"
also = "t1"
tap = 9001

[caller]
protocol = "voiceloop"
end_of_reply = "quiescence"
ports = { audio = { per_call = true } }

[judge]
protocol = "openai"
service = "mouth.http"
model = "whisper-1"
"""


def stack(folder: Path, text: str, **how: object) -> StackSpec:
    path = folder / "voiceloop.toml"
    path.write_text(text)
    found = load(path).stack(**how)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_every_key_has_its_place(tmp_path: Path) -> None:
    found = stack(tmp_path, WHOLE, pace="realtime", seed=7)
    path = tmp_path / "voiceloop.toml"
    assert found == StackSpec(
        (
            Service(
                "brain",
                ("./brain", "--port", "{brain.http.port}", "--seed", "7", "--pace=realtime"),
                {"http": Port("tcp"), "tell": Port("udp", 8080, per_call=True)},
                {"MOUTH": "{mouth.http}"},
                tmp_path / "build",
                90.0,
                0.5,
                Ready("http", "http://{brain.http}/health"),
                "SIGINT",
                f"{path}:6: services.brain",
            ),
            Service(
                "mouth",
                (),
                {"http": Port("tcp", 9000, host="mouth.example")},
                ready=Ready("tcp", "{mouth.http}", "hello", "ready"),
                source=f"{path}:16: services.mouth",
            ),
        ),
        (Link("llm_tts", "brain", "mouth", "http", "voiceloop-text", 9001, "stt_llm"),),
        {("caller", "audio"): Port("tcp", per_call=True)},
        "realtime",
        Slots(1, 2, 1),
        caller=Caller("voiceloop", {}, "quiescence"),
        judge=Judge("openai", "mouth", "http", "whisper-1"),
    )


@pytest.mark.parametrize(
    ("ready", "wanted"),
    [
        ('"line"', Ready()),
        ('{ log = "listening on \\\\d+" }', Ready("log", "listening on \\d+")),
        ('{ call = "probes:is_up" }', Ready("call", "probes:is_up")),
    ],
)
def test_ways_to_be_ready(ready: str, wanted: Ready, tmp_path: Path) -> None:
    assert stack(tmp_path, f'[services.a]\ncommand = "a"\nready = {ready}\n').services[0].ready == wanted


def test_a_text_as_command_is_cut_into_words_without_a_shell(tmp_path: Path) -> None:
    found = stack(tmp_path, "[services.a]\ncommand = \"a 'b c' $HOME; rm\"\n")
    assert found.services[0].command == ("a", "b c", "$HOME;", "rm")
    assert found.services[0].cwd == tmp_path


def test_a_stack_of_ones_own_has_no_judge_unless_it_says_so(tmp_path: Path) -> None:
    assert stack(tmp_path, '[services.a]\ncommand = "a"\n').judge == Judge("none")


def test_nothing_but_profiles_is_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "voiceloop.toml"
    path.write_text('[profiles.ci]\ntotal = "2s"\n')
    assert load(path).stack() is None


# --- the reference stack, changed


def test_the_reference_stack_with_options(tmp_path: Path) -> None:
    found = stack(tmp_path, 'extends = "reference"\noptions.whisper = ["--beam", "5"]\n', pace="realtime", seed=3)
    assert found == reference_stack("realtime", options={"whisper": ["--beam", "5"]}, seed=3)


def test_a_replaced_service_keeps_its_ports_and_links(tmp_path: Path) -> None:
    text = 'extends = "reference"\n[services.llama]\ncommand = ["./mine", "{llama.listen}", "{kokoro.listen}"]\n'
    found, reference = stack(tmp_path, text), reference_stack()
    llama = found.service("llama")
    assert llama.command == ("./mine", "{llama.listen}", "{kokoro.listen}")
    assert (llama.ports, llama.cwd, llama.env) == (reference.service("llama").ports, tmp_path, {})
    assert [s for s in found.services if s.name != "llama"] == [s for s in reference.services if s.name != "llama"]
    assert (found.links, found.neighbours, found.judge) == (reference.links, reference.neighbours, reference.judge)


def test_a_key_of_a_service_is_changed_and_the_rest_stays(tmp_path: Path) -> None:
    found = stack(tmp_path, 'extends = "reference"\n[services.llama]\ncold_start = "5s"\n').service("llama")
    reference = reference_stack().service("llama")
    assert (found.cold_start_s, found.command, found.cwd) == (5.0, reference.command, reference.cwd)


def test_a_service_of_the_reference_stack_may_run_already(tmp_path: Path) -> None:
    text = 'extends = "reference"\n[services.llama]\naddress = { listen = "127.0.0.1:8083" }\n'
    found = stack(tmp_path, text).service("llama")
    assert (found.command, found.ports) == ((), {"listen": Port("tcp", 8083, host="127.0.0.1")})


# --- where it lies


def test_it_is_found_beside_the_ini_file_before_the_rootdir(tmp_path: Path) -> None:
    for name in ("ini", "root"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "voiceloop.toml").touch()
    assert find([tmp_path / "ini", tmp_path / "root"]) == tmp_path / "ini" / "voiceloop.toml"


def test_a_pyproject_counts_where_it_has_the_table(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.other]\n")
    assert find([tmp_path]) is None
    path.write_text('[tool.voiceloop]\nextends = "reference"\n')
    assert find([tmp_path]) == path
    assert load(path).stack() == reference_stack()
