"""A stack as a file describes it."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pytest_voiceloop.call.phone import GROUP as CALLERS
from pytest_voiceloop.stack.checks import did_you_mean
from pytest_voiceloop.stack.reference import SERVICES as REFERENCE
from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import (
    CALLER,
    Caller,
    Judge,
    Link,
    Pace,
    Port,
    Ready,
    Service,
    Slots,
    SpecError,
    StackSpec,
)
from pytest_voiceloop.wire.protocols import GROUP as PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_voiceloop.config.table import Table
    from pytest_voiceloop.measure.timeline import Role

STACK_KEYS = ("extends", "options", "slots", "services", "links", "caller", "judge")
LINK_KEYS = ("from", "to", "protocol", "stamps", "also", "tap")
SERVICE_KEYS = ("command", "address", "cwd", "env", "ports", "ready", "cold_start", "stop_signal", "grace")
_ROLES: Mapping[str, Role] = {"t1": "stt_llm", "t2": "llm_tts", "t3": "tts_out"}
_TRANSPORTS: Mapping[str, Literal["tcp", "udp"]] = {"tcp": "tcp", "udp": "udp"}
_ENDS: Mapping[str, Literal["end", "bye", "quiescence"]] = {"end": "end", "bye": "bye", "quiescence": "quiescence"}
_JUDGES: Mapping[str, Literal["voiceloop", "openai", "wyoming", "none"]] = {
    "voiceloop": "voiceloop",
    "openai": "openai",
    "wyoming": "wyoming",
    "none": "none",
}
_ADDRESS = re.compile(r"([^\s:/]+):(\d{1,5})")


def stack(root: Table, pace: Pace, seed: int) -> StackSpec | None:
    """The stack that `root` describes; None where it describes none. Raises ConfigError."""
    base = _base(root, pace, seed)
    services = {service.name: service for service in base.services} if base else {}
    given = root.table("services")
    if not services and not given.values:
        for key in STACK_KEYS:
            if key in root.values:
                raise root.error('it stands here without a service; add [services.NAME], or extends = "reference"', key)
        return None
    # So that what belongs to this run alone can be handed on by whoever writes a command.
    run = {"{pace}": pace, "{seed}": str(seed)}
    for name in given.values:
        services[name] = _service(given.table(name), name, services.get(name), run)
    table = root.table("caller")
    neighbours = {**(base.neighbours if base else {})}
    neighbours |= {(CALLER, name): port for name, port in _ports(table).items()}
    links = tuple(_link(one, services) for one in root.tables("links")) if "links" in root.values or not base else None
    try:
        return StackSpec(
            tuple(services.values()),
            base.links if base and links is None else links or (),
            neighbours,
            pace,
            _slots(root.table("slots"), base.slots if base else Slots()),
            caller=_caller(table, base),
            judge=_judge(root.table("judge")) if base is None or "judge" in root.values else base.judge,
        )
    except SpecError as error:
        raise root.error(str(error), *error.at) from None


def _base(root: Table, pace: Pace, seed: int) -> StackSpec | None:
    extends = root.choice("extends", {"reference": True, "": False}, "")
    if not extends:
        if "options" in root.values:
            raise root.error('they are the reference stack\'s; add extends = "reference"', "options")
        return None
    options = root.table("options")
    options.only(*REFERENCE)
    return reference_stack(pace, options={name: options.words(name) for name in options.values}, seed=seed)


def _service(table: Table, name: str, base: Service | None, run: Mapping[str, str]) -> Service:
    """A service. What is not given stays as `base` has it."""
    table.only(*SERVICE_KEYS)
    folder = table.file.path.parent
    source = table.file.where(*table.key)
    made = replace(base, source=source) if base else Service(name, (), {}, source=source)
    given: dict[str, Any] = {}
    if "address" in table.values:
        for key in ("command", "ports", "env", "cwd", "stop_signal", "grace"):
            if key in table.values:
                raise table.error(f"{name} has an address, so it runs already; take {key} away, or the address", key)
        given = {"command": (), "env": {}, "cwd": None, "ports": _addresses(table.table("address"))}
    elif "command" in table.values:
        given = {"command": _filled(_command(table), run), "cwd": folder, "env": {}}
    elif base is None:
        raise table.error(f"{name} has neither a command nor an address; add the one by which it is started")
    if "ports" in table.values:
        given["ports"] = _ports(table)
    if "env" in table.values:
        env = table.texts("env")
        given["env"] = dict(zip(env, _filled(tuple(env.values()), run), strict=True))
    if "cwd" in table.values:
        given["cwd"] = folder / Path(table.get("cwd", str)).expanduser()
    if "ready" in table.values:
        given["ready"] = _ready(table)
    elif given.get("command") == ():
        given["ready"] = Ready()
    return replace(
        made,
        **given,
        cold_start_s=table.seconds("cold_start", made.cold_start_s),
        stop_signal=table.get("stop_signal", str, made.stop_signal),
        grace_s=table.seconds("grace", made.grace_s),
    )


def _filled(words: tuple[str, ...], run: Mapping[str, str]) -> tuple[str, ...]:
    for placeholder, value in run.items():
        words = tuple(word.replace(placeholder, value) for word in words)
    return words


def _command(table: Table) -> tuple[str, ...]:
    words: tuple[str, ...]
    if isinstance(table.values["command"], str):
        try:
            words = tuple(shlex.split(table.values["command"]))
        except ValueError as error:
            raise table.error(
                f"it cannot be cut into words ({error}); close the quote, or write a list", "command"
            ) from None
    else:
        words = table.words("command")
    if not words:
        raise table.error(
            'it is empty; write a list of words, such as ["./server", "--port", "{NAME.http.port}"]', "command"
        )
    return words


def _ports(table: Table) -> dict[str, Port]:
    ports = table.table("ports")
    return {name: _port(ports, name) for name in ports.values}


def _port(ports: Table, name: str) -> Port:
    if isinstance(ports.values[name], str):
        return Port(ports.choice(name, _TRANSPORTS))
    port = ports.table(name)
    port.only("protocol", "fixed", "per_call")
    fixed = port.get("fixed", int, 0)
    if "fixed" in port.values and not 0 < fixed < 65_536:
        raise port.error(f"{fixed} is no port; write a number from 1 to 65535", "fixed")
    return Port(port.choice("protocol", _TRANSPORTS, "tcp"), fixed or None, port.get("per_call", bool, default=False))


def _addresses(table: Table) -> dict[str, Port]:
    if not table.values:
        raise table.error('it is empty; write a name and where it listens, such as { http = "127.0.0.1:8080" }')
    found = {}
    for name in table.values:
        address = _ADDRESS.fullmatch(table.get(name, str))
        if address is None or not 0 < int(address[2]) < 65_536:
            raise table.error(f"{table.values[name]!r} is no address; write host:port, such as 127.0.0.1:8080", name)
        found[name] = Port("tcp", int(address[2]), host=address[1])
    return found


def _ready(table: Table) -> Ready:
    if isinstance(table.values["ready"], str):
        return table.choice("ready", {"line": Ready()})
    ready = table.table("ready")
    by = [kind for kind in ("log", "http", "tcp", "call") if kind in ready.values]
    ready.only("log", "http", "tcp", "call", *(("send", "expect") if by == ["tcp"] else ()))
    if len(by) != 1:
        raise ready.error('it has to say one thing to look at; write "line", or one of log, http, tcp and call')
    kind = cast("Literal['log', 'http', 'tcp', 'call']", by[0])
    return Ready(kind, ready.get(kind, str), ready.get("send", str, ""), ready.get("expect", str, ""))


def _link(table: Table, services: Mapping[str, Service]) -> Link:
    table.only(*LINK_KEYS)
    source, (target, port) = table.get("from", str), _port_of(table, "to")
    for key, name in (("from", source), ("to", target)):
        if name not in services:
            raise table.error(f"no service is called {name!r}; {did_you_mean(name, services)}", key)
    if port not in services[target].ports:
        raise table.error(f"{target} has no port {port!r}; {did_you_mean(port, services[target].ports)}", "to")
    protocol, _ = _plugin(table, "protocol", PROTOCOLS)
    tap = table.values.get("tap", True)
    if not isinstance(tap, bool) and not (isinstance(tap, int) and 0 < tap < 65_536):
        raise table.error(f"{tap!r} will not do; write true, false, or the port at which the tap has to listen", "tap")
    also = table.choice("also", _ROLES) if "also" in table.values else None
    return Link(table.choice("stamps", _ROLES), source, target, port, protocol, tap, also)


def _port_of(table: Table, key: str) -> tuple[str, str]:
    service, dot, port = table.get(key, str).partition(".")
    if not dot:
        raise table.error(f"{service!r} names no port; write service.port, such as {service or 'llama'}.http", key)
    return service, port


def _plugin(table: Table, key: str, group: str) -> tuple[str, Any]:
    """A name among the entry points of a group, and what it stands for: packages can bring theirs."""
    entry = table.choice(key, {entry.name: entry for entry in importlib.metadata.entry_points(group=group)})
    try:
        return entry.name, entry.load()
    except (ImportError, AttributeError) as error:
        raise table.error(
            f"{entry.name!r} cannot be loaded ({error}); install what it needs, or take another", key
        ) from None


def _caller(table: Table, base: StackSpec | None) -> Caller:
    if not table.values:
        return base.caller if base else Caller()
    protocol, open_phone = _plugin(table, "protocol", CALLERS)
    parameters = inspect.signature(open_phone).parameters.values()
    takes = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    table.only("protocol", "end_of_reply", "ports", *takes)
    for name, parameter in takes.items():
        if parameter.default is parameter.empty and name not in table.values:
            raise table.error(f"a caller over {protocol} needs {name!r}; add it")
        if name in table.values and isinstance(parameter.default, (str, int, bool)):
            table.get(name, type(parameter.default))
    options = {name: table.values[name] for name in takes if name in table.values}
    return Caller(protocol, options, table.choice("end_of_reply", _ENDS, "end"))


def _judge(table: Table) -> Judge:
    if not table.values:
        return Judge("none")
    table.only("protocol", "service", "model")
    protocol = table.choice("protocol", _JUDGES)
    service, port = _port_of(table, "service") if "service" in table.values else ("", "")
    return Judge(protocol, service, port, table.get("model", str, ""))


def _slots(table: Table, base: Slots) -> Slots:
    table.only("first", "count", "step")
    try:
        return Slots(*(table.get(key, int, getattr(base, key)) for key in ("first", "count", "step")))
    except SpecError as error:
        raise table.error(str(error)) from None
