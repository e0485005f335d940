"""A service is ready when it says so or answers, in any of five ways; an open port is none of them."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_services import FOREVER, fake, until

from pytest_voiceloop.stack.boot import RunningStack, boot
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import Port, Ready, Service, StackSpec

# Answers one request a connection with what `answer` makes of it; `asked` counts them.
SERVER = """
import os, socket, sys
host, port = os.environ["AT"].split(":")
listener = socket.create_server((host, int(port)))
asked = 0
while True:
    connection, _ = listener.accept()
    asked += 1
    request = connection.recv(4096)
    connection.sendall(answer(request, asked))
    connection.close()
"""
HTTP = """
def answer(request, asked):
    status = (b"503 Busy", b"500 Oh", b"200 OK")[min(asked, 3) - 1]
    return b"HTTP/1.1 " + status + bytes([13, 10]) + b"Content-Length: 0" + bytes([13, 10, 13, 10])
"""
LISTENS_ONLY = """
import os, socket, time
host, port = os.environ["AT"].split(":")
listener = socket.create_server((host, int(port)))
while True: time.sleep(0.05)
"""


# Let go what a test's function holds back.
RELEASE = threading.Event()


@pytest.fixture(autouse=True)
def _no_probe_stays() -> Iterator[None]:
    RELEASE.clear()
    yield
    RELEASE.set()
    until(lambda: not any(thread.name == "readiness" for thread in threading.enumerate()))


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def served(folder: Path, source: str, ready: Ready, **fields: Any) -> Service:
    fields = {"ports": {"http": Port("tcp")}, "env": {"AT": "{alpha.http}"}, **fields}
    return fake(folder, "alpha", source, ready=ready, **fields)


@contextlib.contextmanager
def booted(folder: Path, *services: Service, said: list[str] | None = None) -> Iterator[RunningStack]:
    with boot(StackSpec(services, (), {}), folder / "logs", progress=(said if said is not None else []).append) as it:
        yield it


def refused(folder: Path, *services: Service) -> str:
    with pytest.raises(StackError) as caught, booted(folder, *services):
        pass
    return str(caught.value)


# --- it becomes ready


def test_a_log_line_that_matches(tmp_path: Path) -> None:
    source = "print('loading'); print('main: server is listening on 127.0.0.1:1 - starting', flush=True)\n"
    with booted(tmp_path, served(tmp_path, source + FOREVER, Ready("log", r"listening on [\d.]+:\d"))) as running:
        assert running.processes[0].cold_start_ms > 0
        assert running.processes[0].facts == {}


def test_an_http_answer_is_waited_for_while_it_is_503(tmp_path: Path) -> None:
    with booted(tmp_path, served(tmp_path, HTTP + SERVER, Ready("http", "http://{alpha.http}/health"))) as running:
        assert running.processes[0].cold_start_ms > 0


def test_a_tcp_exchange(tmp_path: Path) -> None:
    source = "def answer(request, asked): return b'busy' if asked < 3 else b'x' * 5000 + request.upper()\n" + SERVER
    ready = Ready("tcp", "{alpha.http}", "are you there\n", "ARE YOU THERE")
    with booted(tmp_path, served(tmp_path, source, ready)) as running:
        running.check()


def test_a_function_gets_the_addresses(tmp_path: Path) -> None:
    got: list[Mapping[str, str]] = []

    def third_time(addresses: Mapping[str, str]) -> bool:
        got.append(addresses)
        if len(got) == 1:
            raise ConnectionRefusedError("not yet")
        return len(got) == 3

    with booted(tmp_path, served(tmp_path, FOREVER, Ready("call", third_time))) as running:
        assert got == 3 * [{"http": f"127.0.0.1:{running.addresses.bind['alpha', 'http']}"}]


def test_a_function_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probes_of_this_test.py").write_text("def is_up(addresses): return addresses['http'] != ''\n")
    monkeypatch.syspath_prepend(tmp_path)
    with booted(tmp_path, served(tmp_path, FOREVER, Ready("call", "probes_of_this_test:is_up"))) as running:
        running.check()


# --- it does not


SLOW = {"cold_start_s": 0.5}


@pytest.mark.parametrize(
    ("ready", "wanted"),
    [
        (Ready("log", "listening"), "alpha logged no line that matches 'listening' within 0.5 s"),
        (Ready("http", "http://{alpha.http}/"), "([Errno 111] Connection refused) within 0.5 s"),
        (Ready("http", "http://{alpha.http}x/"), "alpha did not answer GET http://127.0.0.1:"),
        (Ready("tcp", "{alpha.http}x", "", "hello"), "x' is no address; write host:port"),
        (Ready("call", lambda _: False), "<lambda> says, within 0.5 s"),
        (Ready("call", lambda _: 1 / 0), "<lambda> raised ZeroDivisionError: division by zero, within 0.5 s"),
        (Ready("call", lambda _: RELEASE.wait()), "alpha gave no answer within 0.5 s"),
        (Ready("call", "no_such_module:f"), "'no_such_module:f' cannot be imported (No module named"),
        (Ready("call", "os:sep"), "the ready.call of alpha: 'os:sep' is no function"),
    ],
)
def test_what_never_comes_is_named(ready: Ready, wanted: str, tmp_path: Path) -> None:
    message = refused(tmp_path, served(tmp_path, FOREVER, ready, **SLOW))
    print(message)
    assert wanted in message


@pytest.mark.parametrize(
    ("says", "ready", "wanted"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", Ready("http", "http://{at}/health"), "alpha answered 503 to GET http://127"),
        (b"SSH-2.0\r\n", Ready("http", "http://{at}/"), "(SSH-2.0) within 0.5 s"),
        (b"no", Ready("tcp", "{at}", "hello", "yes"), "it closed the connection within 0.5 s"),
    ],
)
def test_the_wrong_answer_is_named(
    says: bytes, ready: Ready, wanted: str, server: socket.socket, tmp_path: Path
) -> None:
    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(says)

    answering = threading.Thread(target=answer)
    answering.start()
    at = f"127.0.0.1:{server.getsockname()[1]}"
    message = refused(tmp_path, served(tmp_path, FOREVER, replace(ready, value=ready.value.format(at=at)), **SLOW))
    server.shutdown(socket.SHUT_RDWR)
    answering.join()
    print(message)
    assert wanted in message


@pytest.mark.parametrize("ready", [Ready("http", "http://{alpha.http}/"), Ready("tcp", "{alpha.http}", "", "hello")])
def test_a_port_that_is_open_and_silent_is_not_ready(ready: Ready, tmp_path: Path) -> None:
    message = refused(tmp_path, served(tmp_path, LISTENS_ONLY, ready, **SLOW))
    assert "within 0.5 s. Give it a longer cold start" in message
    assert "or correct the ready of alpha" in message


@pytest.mark.parametrize(
    "ready",
    [
        Ready("log", "never"),
        Ready("http", "http://{alpha.http}/"),
        Ready("tcp", "{alpha.http}", "", "never"),
        Ready("call", lambda _: RELEASE.wait()),
    ],
)
def test_a_service_that_dies_meanwhile_is_told_at_once(ready: Ready, tmp_path: Path) -> None:
    source = LISTENS_ONLY.replace("while True: time.sleep(0.05)", "print('out of memory', flush=True); os._exit(3)")
    message = refused(tmp_path, served(tmp_path, source, ready))
    assert "alpha ended before it was ready: exit code 3" in message
    assert "out of memory" in message


# --- what runs already


def running_at(number: int, **fields: Any) -> Service:
    return Service("agent", (), {"ws": Port("tcp", number, host="127.0.0.1")}, **fields)


def test_what_runs_already_is_reached_and_has_no_process(server: socket.socket, tmp_path: Path) -> None:
    said: list[str] = []
    with booted(tmp_path, running_at(server.getsockname()[1]), said=said) as running:
        assert running.processes == []
        running.restart_dead()
    assert said == ["agent runs already: its ports take connections, no more was asked"]


def test_what_runs_already_can_be_asked(server: socket.socket, tmp_path: Path) -> None:
    said: list[str] = []
    service = running_at(server.getsockname()[1], ready=Ready("call", lambda addresses: "ws" in addresses))
    with booted(tmp_path, service, said=said):
        pass
    assert said == ["agent runs already: it is ready"]


def test_what_does_not_run_is_said_before_anything_is_started(server: socket.socket, tmp_path: Path) -> None:
    number = server.getsockname()[1]
    server.close()
    agent = running_at(number, source="voiceloop.toml:3: services.agent")
    assert refused(tmp_path, fake(tmp_path, "alpha", FOREVER), agent) == (
        f"voiceloop.toml:3: services.agent.address: nothing answers at 127.0.0.1:{number} (ws: Connection refused); "
        "start agent before the tests, or correct the address"
    )
    assert not (tmp_path / "logs").exists()
