"""How a service shows that it can be called: by a line that it prints, or by an answer. Never by an open port alone."""

from __future__ import annotations

import contextlib
import http.client
import pkgutil
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from pytest_voiceloop.stack.process import Process, StackError, json_objects
from pytest_voiceloop.stack.spec import HOST, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_voiceloop.stack.spec import Ready

_A_READY_LINE = ' (a ready line is one line of JSON with the key "ready" on standard output)'
_STEP_S = 0.01
_PAUSE_S = 0.05
_ANSWER_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 2.0
# What a proxy says of loopback is nothing that a service said.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_ready(
    process: Process | None,
    service: Service,
    addresses: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait until a service can be called; its placeholders are filled. Keep its facts and its cold start.

    `process` is None for one that runs already, `addresses` is where it listens, by port name. `meanwhile` is called at
    each step, and may raise. Raises MissingPrerequisiteError on exit 69, StackError when the service exits, when it
    cannot be asked, or when its cold start takes too long.
    """
    deadline = time.monotonic() + service.cold_start_s
    with _look(process, service, addresses or {}) as why_not:
        while True:
            # Asked before its log is read: what an ended service said is all there then.
            ended = process is not None and process.popen.poll() is not None
            waiting_for = why_not()
            if process is not None and not waiting_for:
                process.cold_start_ms = (time.monotonic_ns() - process.started_ns) / 1e6
            if process is not None and (ended or not waiting_for):
                process.check()
            if not waiting_for:
                return
            meanwhile()
            if time.monotonic() > deadline:
                account = f"\n{process.account()}" if process else ""
                hint = _A_READY_LINE if service.ready.by == "line" else ""
                raise StackError(
                    f"{service.name} {waiting_for} within {service.cold_start_s:g} s. Give it a longer cold start if "
                    f"it was still loading, or correct {service.at('ready')}{hint}.{account}"
                )
            time.sleep(_STEP_S)


def reach(service: Service) -> None:
    """Connect to every TCP port of a service that runs already. Raises StackError for one that does not answer."""
    for name, port in service.ports.items():
        if port.protocol != "tcp":
            continue
        try:
            socket.create_connection((port.host or HOST, port.seed or 0), timeout=_CONNECT_TIMEOUT_S).close()
        except OSError as error:
            why = error.strerror or str(error)
            raise StackError(
                f"{service.at('address')}: nothing answers at {port.host}:{port.seed} ({name}: {why}); start "
                f"{service.name} before the tests, or correct the address"
            ) from None


@contextlib.contextmanager
def _look(process: Process | None, service: Service, addresses: Mapping[str, str]) -> Iterator[Callable[[], str]]:
    """What says, at each step, what the service has not done yet; empty once it has."""
    ready = service.ready
    if ready.by in ("line", "log"):
        if process is None:
            # It runs already and is not asked: `reach` was all there is to find out.
            yield lambda: ""
            return
        with process.log.open("rb") as stream:
            unfinished = b""

            def new_lines() -> list[str]:
                nonlocal unfinished
                *lines, unfinished = (unfinished + stream.read()).split(b"\n")
                return [line.decode(errors="replace") for line in lines]

            yield _ready_line(process, new_lines) if ready.by == "line" else _matching_line(str(ready.value), new_lines)
        return
    answers = _Answers(_question(service, ready, addresses))
    try:
        yield lambda: answers.why_not
    finally:
        answers.over.set()


def _ready_line(process: Process, new_lines: Callable[[], list[str]]) -> Callable[[], str]:
    def why_not() -> str:
        for said in json_objects(new_lines()):
            if said.get("ready"):
                process.facts = said
                return ""
        return "printed no ready line"

    return why_not


def _matching_line(pattern: str, new_lines: Callable[[], list[str]]) -> Callable[[], str]:
    wanted = re.compile(pattern)
    return lambda: "" if any(map(wanted.search, new_lines())) else f"logged no line that matches {pattern!r}"


class _Answers:
    """Asks again and again, on a thread of its own: an answer may never come, and who waits looks after the process."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self.why_not = "gave no answer"
        self.over = threading.Event()
        self._ask = ask
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def _run(self) -> None:
        while not self.over.is_set():
            self.why_not = self._ask()
            if not self.why_not:
                return
            self.over.wait(_PAUSE_S)


def _question(service: Service, ready: Ready, addresses: Mapping[str, str]) -> Callable[[], str]:
    """What asks once, and returns what is wrong with the answer; empty where nothing is."""
    value = ready.value
    if ready.by == "call":
        return _call(service, value, addresses)
    assert isinstance(value, str)
    if ready.by == "http":
        return lambda: _get(value)
    host, _, port = value.rpartition(":")
    if not port.isdigit():
        raise StackError(f"{service.at('ready.tcp')}: {value!r} is no address; write host:port")
    return lambda: _exchange(host, int(port), ready.send.encode(), ready.expect.encode())


def _get(url: str) -> str:
    try:
        with _DIRECT.open(url, timeout=_ANSWER_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        # It holds the connection.
        error.close()
        return f"answered {error.code} to GET {url}, and nothing below 400"
    except urllib.error.URLError as error:
        return f"did not answer GET {url} ({error.reason})"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"did not answer GET {url} ({str(error).strip()})"


def _exchange(host: str, port: int, send: bytes, expect: bytes) -> str:
    got = b""
    try:
        with socket.create_connection((host, port), timeout=_ANSWER_TIMEOUT_S) as connection:
            connection.sendall(send)
            # As much again as is looked for may come before it, and no more is kept.
            while expect not in got and (data := connection.recv(4096)):
                got = got[-len(expect) :] + data
    except OSError as error:
        return f"did not answer {expect!r} at {host}:{port} ({error})"
    return "" if expect in got else f"did not answer {expect!r} at {host}:{port}, it closed the connection"


def _call(service: Service, value: object, addresses: Mapping[str, str]) -> Callable[[], str]:
    named = value if isinstance(value, str) else getattr(value, "__qualname__", repr(value))
    try:
        function = pkgutil.resolve_name(value) if isinstance(value, str) else value
    except (ImportError, AttributeError, ValueError) as error:
        raise StackError(
            f"{service.at('ready.call')}: {value!r} cannot be imported ({error}); correct it, or put its folder on "
            "pytest's pythonpath"
        ) from None
    if not callable(function):
        raise StackError(f"{service.at('ready.call')}: {value!r} is no function; name one that takes the addresses")

    def ask() -> str:
        try:
            return "" if function(addresses) else f"was not ready, as {named} says,"
        except Exception as error:
            return f"was not ready, since {named} raised {type(error).__name__}: {error},"

    return ask
