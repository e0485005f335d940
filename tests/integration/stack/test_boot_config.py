"""What only a boot can find wrong with a configuration is said as the rest is: file, line, key, remedy."""

import socket
from pathlib import Path

import pytest

from pytest_voiceloop.config import load
from pytest_voiceloop.stack.boot import boot
from pytest_voiceloop.stack.process import StackError

READY_AT_ONCE = """command = ["sh", "-c", "echo '{\\"ready\\": \\"ear\\"}'; exec sleep 60"]\n"""
WRONG = {
    "a command that is on no PATH": (
        'command = "no-such-ear --port 1"\n',
        "command: 'no-such-ear' is not on PATH; install it, or give its path (./no-such-ear is looked for in {folder})",
    ),
    "a command that is no file": (
        'command = "./ear"\n',
        "command: {folder}/ear does not exist; build it, or correct the command",
    ),
    "a command that is not executable": (
        'command = "./voiceloop.toml"\n',
        "command: {folder}/voiceloop.toml is not executable; chmod +x it, or begin the command with its interpreter",
    ),
    "a folder that is none": (
        READY_AT_ONCE + 'cwd = "build"\n',
        "cwd: {folder}/build is no folder; correct it, or make the folder",
    ),
    "an address where nobody is": (
        'address = {{ http = "127.0.0.1:{free}" }}\n',
        "address: nothing answers at 127.0.0.1:{free} (http: Connection refused); start ear before the tests, or",
    ),
    "a function that is nowhere": (
        READY_AT_ONCE + 'ready = {{ call = "no_such_probes:is_up" }}\n',
        "ready.call: 'no_such_probes:is_up' cannot be imported (No module named 'no_such_probes'); correct it, or",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_its_place_and_its_remedy(what: str, tmp_path: Path) -> None:
    text, wanted = WRONG[what]
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    text = text.replace("{{", "{").replace("}}", "}").replace("{free}", str(number))
    path = tmp_path / "voiceloop.toml"
    path.write_text(f"[services.ear]\n{text}")
    spec = load(path).stack()
    assert spec is not None
    with pytest.raises(StackError) as caught, boot(spec, tmp_path / "logs"):
        pass
    assert str(caught.value).startswith(f"{path}:1: services.ear.{wanted.format(folder=tmp_path, free=number)}")


def test_a_stack_of_a_configuration_boots(tmp_path: Path) -> None:
    (tmp_path / "voiceloop.toml").write_text(f"[services.ear]\n{READY_AT_ONCE}")
    spec = load(tmp_path / "voiceloop.toml").stack()
    assert spec is not None
    with boot(spec, tmp_path / "logs") as running:
        assert running.processes[0].facts == {"ready": "ear"}
