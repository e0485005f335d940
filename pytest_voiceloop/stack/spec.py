"""What a stack is made of, as plain data.

A service's command may hold placeholders in braces. ``{llama.listen}`` in llama's own command is the address that it
has to bind; in another service's command it is the address at which to reach it, which is a tap's where the link
between the two has one. ``{llama.listen.host}`` and ``{llama.listen.port}`` are its two halves. A per-call port stands
as its base: the port of a call is base + call id. ``{calls}`` and ``{python}`` stand for the call slots
(``first:count:step``) and this interpreter.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_voiceloop.measure.timeline import Role
    from pytest_voiceloop.wire.protocols import Direction

HOST = "127.0.0.1"
Pace = Literal["asap", "realtime"]
CALLER = "caller"
"""The harness's own name where a service is named: it is the neighbour at both ends of the stack."""
NAME = r"[a-z][a-z0-9_]*"
PLACEHOLDER = re.compile(rf"\{{({NAME})\.({NAME})(?:\.({NAME}))?\}}")
"""Service, port and, where only that is wanted, ``host`` or ``port``."""


class SpecError(ValueError):
    """A stack that does not fit together; the message names the service or link, and the remedy.

    `at` is the place within the spec, such as ``("services", "llama", "command")`` or ``("links", 0, "port")``.
    """

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service binds. `seed` is its number (or base) in the fixed plan, None where it has none.

    `host` is where a service listens that runs already, at `seed`: it is reached there and nothing is allocated.
    """

    protocol: Literal["tcp", "udp"] = "tcp"
    seed: int | None = None
    per_call: bool = False
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """How a service shows that it can be called. Placeholders in `value` and `send` are filled.

    ====  =========================================================================================
    by    `value`
    ====  =========================================================================================
    line  nothing: it prints one line of JSON with the key "ready"
    log   a regular expression that a line of its log matches
    http  a URL that answers a GET with a status below 400
    tcp   an address that takes a connection, is sent `send`, and answers with `expect` in it
    call  a function that returns True: itself, or ``module:function``. It gets the service's
          addresses by port name, ``{"http": "127.0.0.1:20001"}``
    ====  =========================================================================================
    """

    by: Literal["line", "log", "http", "tcp", "call"] = "line"
    value: str | Callable[[Mapping[str, str]], bool] = ""
    send: str = ""
    expect: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One subprocess of the stack; without a command one that runs already, at the hosts of its ports."""

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, Port]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    cold_start_s: float = 120.0
    grace_s: float = 2.0
    ready: Ready = Ready()
    stop_signal: str = "SIGTERM"
    source: str = ""
    """Where it is declared, for messages; empty where that is Python."""

    def at(self, key: str) -> str:
        """Where one of its fields was set, as a message begins."""
        return f"{self.source}.{key}" if self.source else f"the {key} of {self.name}"


@dataclass(frozen=True, slots=True)
class Link:
    """A TCP connection over which `source` feeds `target` on one of its ports, or asks it and is answered.

    What passes in the direction that its protocol stamps is `role`'s: ``stt_llm`` the transcript (T1), ``llm_tts`` the
    reply's text (T2), ``tts_out`` the reply's audio (T3). `other` is the role of what passes the other way, where that
    is seen on no link of its own: a language model's request holds the transcript. `tap` may be
    the port at which the tap has to listen, for a source that cannot be told another.
    """

    role: Role
    source: str
    target: str
    port: str
    protocol: str = "voiceloop-text"
    tap: bool | int = True
    other: Role | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """Whatever it shows, if it is tapped."""
        return (self.role,) if self.other is None else (self.role, self.other)

    def stamps(self, direction: Direction, of_protocol: Direction) -> Role | None:
        """The role of what passes in one direction; `of_protocol` is the one that the protocol stamps."""
        return self.role if direction == of_protocol else self.other


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller's side of the stack.

    `protocol` is the name of an entry point of the group ``voiceloop.callers``, `options` are what it takes. A reply is
    over when END comes for it, when BYE closes the call, or when nothing has come for a while (quiescence).
    """

    protocol: str = "voiceloop"
    options: Mapping[str, Any] = field(default_factory=dict)
    end_of_reply: Literal["end", "bye", "quiescence"] = "end"


@dataclass(frozen=True, slots=True)
class Judge:
    """Who re-transcribes what was heard. ``voiceloop`` is a call of its own to the service that hears the caller.

    ``openai`` and ``wyoming`` ask `service` at `port` in that protocol; `model` is what openai is asked for.
    """

    protocol: Literal["voiceloop", "openai", "wyoming", "none"] = "voiceloop"
    service: str = ""
    port: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Slots:
    """The call ids: `first`, `first + step` and so on, `count` of them."""

    first: int = 151
    count: int = 8
    step: int = 1

    def __post_init__(self) -> None:
        """Raise SpecError where there is no slot."""
        if self.first < 0 or self.count < 1 or self.step < 1:
            raise SpecError(f"the call slots {self} are none; first is at least 0, count and step are at least 1")

    def ids(self) -> range:
        """All call ids."""
        return range(self.first, self.first + self.count * self.step, self.step)

    @property
    def width(self) -> int:
        """How many consecutive ports a per-call block needs."""
        return (self.count - 1) * self.step + 1

    def __str__(self) -> str:
        """As the services take it: ``first:count:step``."""
        return f"{self.first}:{self.count}:{self.step}"


@dataclass(frozen=True, slots=True)
class StackSpec:
    """Services and links, booted and stopped as one.

    `neighbours` are the ports that the harness itself serves, by (owner, port name): the caller's, and those of
    services that are not booted. `scripted` says that no model listens, thinks or speaks.
    """

    services: tuple[Service, ...]
    links: tuple[Link, ...]
    neighbours: Mapping[tuple[str, str], Port]
    pace: Pace = "asap"
    slots: Slots = Slots()
    scripted: bool = False
    caller: Caller = Caller()
    judge: Judge = Judge()

    def __post_init__(self) -> None:
        """Raise SpecError where the parts do not fit."""
        from pytest_voiceloop.stack.checks import check

        check(self)

    def service(self, name: str) -> Service:
        """The service of that name. Raises SpecError."""
        for service in self.services:
            if service.name == name:
                return service
        raise SpecError(f"no service is called {name!r}; there are {', '.join(s.name for s in self.services)}")

    def with_service(self, service: Service) -> StackSpec:
        """This stack with a service of its own in the place of the one of that name; its links stay. Raises SpecError.

        Without ports it has those of the one that it replaces.
        """
        before = self.service(service.name)
        new = service if service.ports else replace(service, ports=before.ports)
        return replace(self, services=tuple(new if one is before else one for one in self.services))

    def only(self, name: str) -> StackSpec:
        """One service of it, with the harness in its neighbours' places. Raises SpecError."""
        kept = self.service(name)
        others = {
            (s.name, port): declared for s in self.services if s is not kept for port, declared in s.ports.items()
        }
        links = tuple(link for link in self.links if name in (link.source, link.target))
        return replace(self, services=(kept,), links=links, neighbours={**self.neighbours, **others})

    def of_checkout(self, folder: Path, root: Path) -> StackSpec:
        """This stack as another checkout of its repository, `folder`, has it; `root` is this one.

        Services run in `folder`. Whatever their commands, working directories and PYTHONPATH name within `root` is
        taken from there, where it exists there, and Python looks for modules in it and in ``services`` first. Raises
        SpecError for no folder.
        """
        if not folder.is_dir():
            raise SpecError(f"{folder} is no folder; give a checkout, such as one that `git worktree add` makes")

        def there(text: str) -> str:
            path = Path(text)
            inside = path.is_absolute() and path.is_relative_to(root)
            found = folder / path.relative_to(root) if inside else path
            return str(found) if inside and found.exists() else text

        def of_it(service: Service) -> Service:
            usual = service.env.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep)
            paths = dict.fromkeys((str(folder / "services"), str(folder), *map(there, filter(None, usual))))
            return replace(
                service,
                command=tuple(map(there, service.command)),
                cwd=folder / there(str(service.cwd or "")),
                env={**service.env, "PYTHONPATH": os.pathsep.join(paths)},
            )

        return replace(self, services=tuple(map(of_it, self.services)))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every number of a booted stack. Keys are (service, port name); a per-call entry is the base."""

    bind: Mapping[tuple[str, str], int]
    reach: Mapping[tuple[str, str], int]
    hosts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Where the ports of services that run already are; all others are on loopback."""

    def host(self, owner: str, port: str) -> str:
        """Where a port's service itself listens."""
        return self.hosts.get((owner, port), HOST)

    def fill(self, service: str, text: str, slots: Slots) -> str:
        """`text` with its placeholders replaced, as `service` has to see them."""

        def one(match: re.Match[str]) -> str:
            key = (match[1], match[2])
            number = (self.bind if match[1] == service else self.reach)[key]
            # A tap is on loopback, whatever is behind it.
            host = self.host(*key) if number == self.bind[key] else HOST
            return {"host": host, "port": str(number), None: f"{host}:{number}"}[match[3]]

        return PLACEHOLDER.sub(one, text).replace("{calls}", str(slots)).replace("{python}", sys.executable)
