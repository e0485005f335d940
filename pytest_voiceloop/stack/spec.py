"""What a stack is made of, as plain data.

A service's command may hold placeholders in braces. ``{llama.listen}`` in llama's own command is the address that it
has to bind; in another service's command it is the address at which to reach it, which is a tap's where the link
between the two has one. A per-call port stands as its base: the port of a call is base + call id. ``{calls}`` and
``{python}`` stand for the call slots (``first:count:step``) and this interpreter.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_voiceloop.wire.frames import Layout

HOST = "127.0.0.1"
Pace = Literal["asap", "realtime"]
CALLER = "caller"
"""The harness's own name where a service is named: it is the neighbour at both ends of the stack."""
_NAME = r"[a-z][a-z0-9_]*"
_PLACEHOLDER = re.compile(rf"\{{({_NAME})\.({_NAME})\}}")


class SpecError(ValueError):
    """A stack that does not fit together; the message names the service or link, and the remedy."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a service binds. `seed` is its number (or base) in the fixed plan."""

    protocol: Literal["tcp", "udp"]
    seed: int
    per_call: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """One subprocess of the stack."""

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, Port]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    cold_start_s: float = 120.0
    grace_s: float = 2.0


LinkRole = Literal["stt_llm", "llm_tts", "tts_out"]


@dataclass(frozen=True, slots=True)
class Link:
    """A TCP connection per call over which `source` feeds `target` on one of its ports.

    `role` says which events its frames stamp: T1, T2 or T3. `control` says that END and CANCEL are spoken on it.
    `delay_ms` makes the tap hold every frame back after it was stamped, which slows `target` down.
    """

    role: LinkRole
    source: str
    target: str
    port: str
    layout: Layout
    tap: bool = True
    control: bool = True
    delay_ms: float = 0.0


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

    def __post_init__(self) -> None:
        """Raise SpecError where the parts do not fit."""
        names = [service.name for service in self.services]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(f"two services are called {name!r}; give each a name of its own")
            if not re.fullmatch(_NAME, name) or name == CALLER:
                raise SpecError(f"{name!r} is no name for a service; take lower-case letters, not {CALLER!r}")
        for service in self.services:
            if isinstance(service.command, str) or not service.command:
                raise SpecError(
                    f"the command of {service.name} is {service.command!r}; "
                    'give a tuple of words, such as ("{python}", "serve.py")'
                )
            for port in service.ports:
                if not re.fullmatch(_NAME, port):
                    raise SpecError(f"{port!r} is no name for a port of {service.name}; take lower-case letters")
        declared = {(s.name, name): port for s in self.services for name, port in s.ports.items()}
        declared.update(self.neighbours)
        by_name = {service.name: service for service in self.services}
        for link in self.links:
            where = f"the link {link.role} ({link.source} → {link.target})"
            if link.source not in by_name and link.target not in by_name:
                raise SpecError(f"{where} joins no service of this stack; the services are {', '.join(names)}")
            target = by_name.get(link.target)
            if target is not None and link.port not in target.ports:
                raise SpecError(
                    f"{where} goes to port {link.port!r}, which {link.target} does not declare; "
                    f"it has {', '.join(target.ports) or 'none'}"
                )
            port_of_link = declared.get((link.target, link.port))
            if port_of_link is None:
                raise SpecError(
                    f"{where} goes to port {link.port!r} of a neighbour that is not declared; "
                    f"add ({link.target!r}, {link.port!r}) to the neighbours, or boot {link.target}"
                )
            if port_of_link.protocol != "tcp":
                raise SpecError(f"{where} goes to port {link.port!r}, which is UDP; a link is a TCP connection")
            if link.delay_ms and not link.tap:
                raise SpecError(f"{where} has a delay but no tap; set tap=True, or take the delay away")
        if len({link.role for link in self.links}) < len(self.links):
            raise SpecError("two links have the same role; each of stt_llm, llm_tts and tts_out may stand once")
        self._check_placeholders()

    def _check_placeholders(self) -> None:
        known = {(s.name, p) for s in self.services for p in s.ports} | set(self.neighbours)
        for service in self.services:
            for text in (*service.command, *service.env.values()):
                for owner, port in _PLACEHOLDER.findall(text):
                    if (owner, port) not in known:
                        raise SpecError(
                            f"the command of {service.name} asks for {{{owner}.{port}}}, which nothing declares; "
                            f"there are {', '.join(sorted(f'{{{o}.{p}}}' for o, p in known))}"
                        )

    def service(self, name: str) -> Service:
        """The service of that name. Raises SpecError."""
        for service in self.services:
            if service.name == name:
                return service
        raise SpecError(f"no service is called {name!r}; there are {', '.join(s.name for s in self.services)}")

    def link(self, role: LinkRole) -> Link | None:
        """The link of that role, None where the stack has none."""
        return next((link for link in self.links if link.role == role), None)

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

    def slowed(self, service: str, delay_ms: float) -> StackSpec:
        """This stack with every frame into `service` held back by `delay_ms` at the tap. Raises SpecError."""
        self.service(service)
        if not any(link.target == service and link.tap for link in self.links):
            targets = ", ".join(link.target for link in self.links if link.tap)
            raise SpecError(f"no tapped link leads into {service!r}, so it cannot be slowed; {targets} can")
        slow = tuple(replace(link, delay_ms=delay_ms) if link.target == service else link for link in self.links)
        return replace(self, links=slow)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every number of a booted stack. Keys are (service, port name); a per-call entry is the base."""

    bind: Mapping[tuple[str, str], int]
    reach: Mapping[tuple[str, str], int]

    def fill(self, service: str, text: str, slots: Slots) -> str:
        """`text` with its placeholders replaced, as `service` has to see them."""

        def one(match: re.Match[str]) -> str:
            key = (match[1], match[2])
            return f"{HOST}:{(self.bind if match[1] == service else self.reach)[key]}"

        return _PLACEHOLDER.sub(one, text).replace("{calls}", str(slots)).replace("{python}", sys.executable)
