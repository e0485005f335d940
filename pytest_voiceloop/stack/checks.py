"""Whether the parts of a stack fit together. What is wrong is named with its place in the spec, and the remedy."""

from __future__ import annotations

import difflib
import graphlib
import re
import signal
from typing import TYPE_CHECKING

from pytest_voiceloop.stack.spec import CALLER, HOST, NAME, PLACEHOLDER, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_voiceloop.stack.spec import Port, Service, StackSpec

_CALLABLE = re.compile(r"[\w.]+:[\w.]+")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to write instead of a name that nothing has: the closest one, and all that there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}? There are {', '.join(names)}"
    return f"there are {', '.join(names) or 'none'}"


def check(spec: StackSpec) -> None:
    """Raise SpecError where the parts do not fit."""
    names = [service.name for service in spec.services]
    for service in spec.services:
        if names.count(service.name) > 1:
            raise SpecError(
                f"two services are called {service.name!r}; give each a name of its own", "services", service.name
            )
        _check_service(service)
    _check_links(spec)
    _check_numbers(spec)
    _check_placeholders(spec)
    _check_judge(spec)


def _check_service(service: Service) -> None:
    name, here = service.name, ("services", service.name)
    if not re.fullmatch(NAME, name) or name == CALLER:
        raise SpecError(f"{name!r} is no name for a service; take lower-case letters, not {CALLER!r}", *here)
    running = [port for port, declared in service.ports.items() if declared.host]
    if isinstance(service.command, str) or not (service.command or running):
        raise SpecError(
            f'the command of {name} is {service.command!r}; give a tuple of words, such as ("{{python}}", "serve.py")',
            *(*here, "command"),
        )
    if running and (service.command or len(running) < len(service.ports)):
        raise SpecError(
            f"port {running[0]!r} of {name} has a host, so {name} runs already; "
            "give every port of it a host, and no command",
            *(*here, "command"),
        )
    for port, declared in service.ports.items():
        if not re.fullmatch(NAME, port):
            raise SpecError(f"{port!r} is no name for a port of {name}; take lower-case letters", *here, "ports", port)
        if declared.host and declared.seed is None:
            raise SpecError(
                f"port {port!r} of {name} is at {declared.host}; give its number too", *here, "address", port
            )
    if service.stop_signal not in signal.Signals.__members__:
        close = difflib.get_close_matches(service.stop_signal.upper(), signal.Signals.__members__, 1)
        raise SpecError(
            f"{service.stop_signal!r} is no signal; write one such as {close[0] if close else 'SIGTERM'}",
            *(*here, "stop_signal"),
        )
    _check_ready(service)


def _check_ready(service: Service) -> None:
    ready, here = service.ready, ("services", service.name, "ready")
    if ready.by == "log":
        if not service.command:
            raise SpecError(f"{service.name} runs already, so it has no log here; ask it by http, tcp or call", *here)
        try:
            re.compile(str(ready.value))
        except re.error as error:
            raise SpecError(
                f"{ready.value!r} is no regular expression ({error}); correct it, and escape what is meant literally",
                *(*here, "log"),
            ) from None
    elif ready.by == "http" and not re.match(r"https?://", str(ready.value)):
        raise SpecError(
            f"{ready.value!r} is no URL; write http:// before the address, and a path that answers", *here, "http"
        )
    elif ready.by == "tcp" and not ready.expect:
        raise SpecError(
            "nothing is expected of it, and an open port is no sign that a service can work; give what it answers as "
            "expect, and as send what it is asked",
            *(*here, "expect"),
        )
    elif ready.by == "call" and not callable(ready.value) and not _CALLABLE.fullmatch(ready.value):
        raise SpecError(f"{ready.value!r} is no function; write module:function", *here, "call")


def _check_links(spec: StackSpec) -> None:
    names = [service.name for service in spec.services]
    by_name = {service.name: service for service in spec.services}
    declared = _declared(spec)
    tapped: set[tuple[str, str]] = set()
    roles: set[str] = set()
    for number, link in enumerate(spec.links):
        where, here = f"the link {link.role} ({link.source} → {link.target})", ("links", number)
        if link.source not in by_name and link.target not in by_name:
            raise SpecError(f"{where} joins no service of this stack; the services are {', '.join(names)}", *here)
        target = by_name.get(link.target)
        if target is not None and link.port not in target.ports:
            raise SpecError(
                f"{where} goes to port {link.port!r}, which {link.target} does not declare; "
                f"it has {', '.join(target.ports) or 'none'}",
                *(*here, "to"),
            )
        port = declared.get((link.target, link.port))
        if port is None:
            raise SpecError(
                f"{where} goes to port {link.port!r} of a neighbour that is not declared; "
                f"add ({link.target!r}, {link.port!r}) to the neighbours, or boot {link.target}",
                *(*here, "to"),
            )
        if port.protocol != "tcp":
            raise SpecError(
                f"{where} goes to port {link.port!r}, which is UDP; a link is a TCP connection", *here, "to"
            )
        if roles & set(link.roles) or len(set(link.roles)) < len(link.roles):
            raise SpecError(
                f"{where}: two links have the same role; each of stt_llm (T1), llm_tts (T2) and tts_out (T3) may "
                "stand once",
                *(*here, "stamps"),
            )
        roles |= set(link.roles)
        if link.tap and (link.target, link.port) in tapped:
            raise SpecError(
                f"{where} is the second with a tap before {link.target}.{link.port}; one can stand there: "
                "make one link of the two, or set tap = false on one",
                *(*here, "tap"),
            )
        if link.tap:
            tapped.add((link.target, link.port))
    _check_circle(spec)


def _check_circle(spec: StackSpec) -> None:
    graph = graphlib.TopologicalSorter[str]()
    for link in spec.links:
        if CALLER not in (link.source, link.target):
            graph.add(link.target, link.source)
    try:
        graph.prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
        number = next(n for n, link in enumerate(spec.links) if (link.source, link.target) == (circle[-2], circle[-1]))
        raise SpecError(
            f"the links go round, {' → '.join(circle)}, so that a turn would never end; a link goes from the one that "
            "connects to the one that listens: turn one of them, or take it out",
            *("links", number),
        ) from None


def _check_numbers(spec: StackSpec) -> None:
    """No number twice. Whether blocks of per-call ports overlap is looked at where the fixed plan is asked for."""
    taken: dict[tuple[str, str, int], str] = {}
    for whose, (host, protocol, number), at in _numbers(spec):
        other = taken.setdefault((host, protocol, number), whose)
        if other != whose:
            raise SpecError(
                f"{whose} is at {protocol} {host}:{number}, and so is {other}; give one of them another number", *at
            )


def _numbers(spec: StackSpec) -> Iterator[tuple[str, tuple[str, str, int], tuple[str | int, ...]]]:
    for service in spec.services:
        for name, port in service.ports.items():
            if port.seed is not None and not port.per_call:
                at = ("services", service.name, "address" if port.host else "ports", name)
                yield f"{service.name}.{name}", (port.host or HOST, port.protocol, port.seed), at
    for number, link in enumerate(spec.links):
        if link.tap is not True and link.tap is not False:
            yield f"the tap before {link.target}.{link.port}", (HOST, "tcp", link.tap), ("links", number, "tap")


def _check_placeholders(spec: StackSpec) -> None:
    known = _declared(spec)
    for whose, text, at in _filled(spec):
        for owner, port, half in PLACEHOLDER.findall(text):
            if (owner, port) not in known:
                raise SpecError(
                    f"{whose} asks for {{{owner}.{port}}}, which nothing declares; "
                    f"there are {', '.join(sorted(f'{{{o}.{p}}}' for o, p in known)) or 'no ports at all'}",
                    *at,
                )
            if half not in ("", "host", "port"):
                raise SpecError(
                    f"{whose} asks for {{{owner}.{port}.{half}}}; an address has two halves, "
                    f"{{{owner}.{port}.host}} and {{{owner}.{port}.port}}",
                    *at,
                )


def _filled(spec: StackSpec) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Every text whose placeholders are filled: whose it is, itself, and its place."""
    for service in spec.services:
        here = ("services", service.name)
        for word in service.command:
            yield f"the command of {service.name}", word, (*here, "command")
        for name, value in service.env.items():
            yield f"the environment of {service.name}", value, (*here, "env", name)
        if service.ready.by in ("http", "tcp"):
            for text in (str(service.ready.value), service.ready.send):
                yield f"the readiness of {service.name}", text, (*here, "ready")
    for name, option in spec.caller.options.items():
        if isinstance(option, str):
            yield f"the caller's {name}", option, ("caller", name)


def _check_judge(spec: StackSpec) -> None:
    judge = spec.judge
    if judge.protocol not in ("openai", "wyoming"):
        return
    known = _declared(spec)
    if (judge.service, judge.port) not in known:
        named = f"{judge.service}.{judge.port}".strip(".")
        raise SpecError(
            (f"the judge asks {named!r}, which nothing declares; " if named else "the judge asks nobody; name a port: ")
            + did_you_mean(named, (f"{owner}.{port}" for owner, port in known)),
            *("judge", "service"),
        )


def _declared(spec: StackSpec) -> dict[tuple[str, str], Port]:
    return {(s.name, name): port for s in spec.services for name, port in s.ports.items()} | dict(spec.neighbours)
