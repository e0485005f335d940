"""What is done to a stack on purpose: faults by name, checked, seeded, and struck at a moment of a turn.

`KINDS` lists them. A fault on a link strikes what passes there in the call of the turn; one on a service strikes the
process; one on the caller changes what is said or heard.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_voiceloop.measure.durations import parse_ms
from pytest_voiceloop.stack.spec import CALLER
from pytest_voiceloop.text import closest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.stack.spec import Link, StackSpec
    from pytest_voiceloop.wire.protocols import Direction, LinkProtocol

ROLES = ("stt_llm", "llm_tts", "tts_out")
SPOKEN_MOMENTS = ("start", "middle", "t0")
"""The turn begins; the middle of the speech; the caller stops speaking."""
MOMENTS = (*SPOKEN_MOMENTS, *ROLES)
_LONGEST_MS = 600_000.0
_WHEN = ("at", "item", "after")


class FaultError(ValueError):
    """A fault that does not exist, or that this stack cannot suffer; the message says what there is instead."""


class Kind(NamedTuple):
    """A kind of fault: where it can strike, its moment unless another is given, and what has to be and can be given."""

    place: Literal["link", "service", "caller"]
    at: str
    """A moment of MOMENTS; "items" are those that pass on the link itself, "turn" is the whole turn."""
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "delay": Kind("link", "turn", ("duration",)),
    "jitter": Kind("link", "turn", ("duration",), ("seed",)),
    "stall": Kind("link", "items", ("duration",), _WHEN),
    "drop": Kind("link", "items", (), (*_WHEN, "items", "bytes", "seed")),
    "corrupt": Kind("link", "items", (), (*_WHEN, "bytes", "seed")),
    "truncate": Kind("link", "items", (), _WHEN),
    "half_close": Kind("link", "items", (), _WHEN),
    "reset": Kind("link", "items", (), _WHEN),
    "kill": Kind("service", "t0", (), (*_WHEN, "duration")),
    "restart": Kind("service", "t0", (), (*_WHEN, "duration")),
    "pause": Kind("service", "t0", ("duration",), _WHEN),
    "noise": Kind("caller", "turn", ("snr_db",), ("seed",)),
    "mulaw": Kind("caller", "turn"),
    "rtp_loss": Kind("caller", "turn", ("percent",), ("seed",)),
    "rtp_jitter": Kind("caller", "turn", ("duration",), ("seed",)),
    "silence": Kind("caller", "middle", (), ("at", "after")),
    "hang_up": Kind("caller", "middle", (), _WHEN),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as `fault` makes it. None stands for what was not given."""

    kind: str
    where: str = CALLER
    """A role or service, or the caller."""
    at: str | None = None
    item: int = 1
    after_ms: float = 0.0
    duration_ms: float | None = None
    items: int | None = None
    bytes: int | None = None
    percent: float | None = None
    snr_db: float | None = None
    seed: int = 0
    option: str = ""
    """The command-line option that asks for it, where one does."""

    @property
    def moment(self) -> str:
        """When it strikes, `item` and `after_ms` apart: as given, or as its kind has it."""
        return self.at or KINDS[self.kind].at

    @property
    def arguments(self) -> dict[str, object]:
        """What was given beside kind and place, as one writes it."""
        given: dict[str, object] = {
            "at": self.at,
            "item": self.item if self.item != 1 else None,
            "after": f"{self.after_ms:g}ms" if self.after_ms else None,
            "duration": None if self.duration_ms is None else f"{self.duration_ms:g}ms",
            "items": self.items,
            "bytes": self.bytes,
            "percent": self.percent,
            "snr_db": self.snr_db,
            "seed": self.seed if "seed" in KINDS[self.kind].takes else None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        """What makes it again, seed included: ``fault("reset", "llm_tts", item=2)``, or the option."""
        if self.option:
            return self.option
        place = () if self.where == CALLER else (self.where,)
        words = [_quoted(word) for word in (self.kind, *place)]
        return f"fault({', '.join([*words, *(f'{name}={_quoted(value)}' for name, value in self.arguments.items())])})"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def fault(kind: str, where: str = CALLER, **given: Any) -> Fault:
    """A fault. Raises FaultError for a kind, moment or argument that there is not, or that lacks something.

    ``fault("stall", "llm_tts", duration="500ms")``, ``fault("restart", "kokoro", at="tts_out", after="100ms")``.
    """
    if kind not in KINDS:
        raise FaultError(f"there is no fault {kind!r}{closest(kind, KINDS)} There are {', '.join(KINDS)}")
    known = KINDS[kind]
    if (known.place == "caller") != (where == CALLER):
        example = "" if known.place == "caller" else ', "llm_tts"' if known.place == "link" else ', "kokoro"'
        raise FaultError(f'{kind} strikes a {known.place}; write fault("{kind}"{example}, …)')
    takes = (*known.needs, *known.takes)
    for name in given:
        if name not in takes:
            can = f"it takes {', '.join(takes)}" if takes else "it takes nothing more"
            raise FaultError(f"{kind} takes no {name!r}{closest(name, takes)} {can[0].upper()}{can[1:]}")
    for name in known.needs:
        if name not in given:
            raise FaultError(f"{kind} needs {name}: {_EXAMPLES[name]}")
    moments = SPOKEN_MOMENTS if kind == "silence" else MOMENTS
    if given.get("at") is not None and given["at"] not in moments:
        raise FaultError(f"at={given['at']!r} is no moment of {kind}; there are {', '.join(moments)}")
    if "item" in given and given.get("at") in SPOKEN_MOMENTS:
        raise FaultError(f"item={given['item']!r} counts what passes on a link; at={given['at']!r} is none")
    if "items" in given and "bytes" in given:
        raise FaultError("drop takes items or bytes, not both")
    return Fault(kind, where, **{_FIELDS.get(name, name): _checked(name, value) for name, value in given.items()})


_FIELDS = {"after": "after_ms", "duration": "duration_ms"}
_EXAMPLES = {
    "duration": 'how long, such as duration="500ms"',
    "snr_db": "how much louder the speech is than the noise, such as snr_db=10",
    "percent": "of how many packets, such as percent=5",
}


def _checked(name: str, value: object) -> Any:
    if name in ("after", "duration"):
        try:
            ms = parse_ms(value, name)
        except ValueError as error:
            raise FaultError(str(error)) from None
        if ms > _LONGEST_MS:
            raise FaultError(f"{name}={value!r} is longer than any turn; {_LONGEST_MS / 1000:g}s is the most")
        return ms
    if name == "at":
        return value
    least, most = {"seed": (0, 2**63), "percent": (0, 100), "snr_db": (-60, 60)}.get(name, (1, 1_000_000))
    whole = name not in ("percent", "snr_db")
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        raise FaultError(f"{name}={value!r} will not do; write a {'whole ' if whole else ''}number, {least} to {most}")
    return value


def check(one: Fault, spec: StackSpec) -> None:
    """Raise FaultError where a stack cannot suffer a fault."""
    place = KINDS[one.kind].place
    if place == "link":
        place_of(one, spec)
    elif place == "service":
        names = [service.name for service in spec.services]
        if one.where not in names:
            raise FaultError(f"{one}: no service is called {one.where!r}; there are {', '.join(names)}")
        if not spec.service(one.where).command:
            raise FaultError(f"{one}: {one.where} runs already, started by somebody else; nobody here can stop it")
    elif one.kind.startswith("rtp_") and spec.caller.protocol == "websocket":
        raise FaultError(f"{one}: this stack's caller ({spec.caller.protocol}) is sent no RTP, so none can be lost")
    tapped = [role for link in spec.links if link.tap for role in link.roles]
    if one.at in ROLES and one.at not in tapped:
        raise FaultError(f"{one}: no tapped link shows {one.at}; there are {', '.join(tapped) or 'none'}")


def check_all(faults: Sequence[Fault], spec: StackSpec) -> None:
    """Raise FaultError where a stack cannot suffer one of the faults of a turn, or two of them together."""
    taken_down: dict[str, Fault] = {}
    for one in faults:
        check(one, spec)
        if one.kind in ("kill", "restart"):
            other = taken_down.setdefault(one.where, one)
            if other is not one:
                raise FaultError(
                    f"{one}: {other} takes {one.where} down in the same turn already; keep one of them, or lift one "
                    "before the next is injected"
                )


def place_of(one: Fault, spec: StackSpec) -> tuple[Link, Direction | None]:
    """The link of a fault, and the direction that it strikes: None for the one in which the role's items pass.

    A service stands for what goes into it. Raises FaultError.
    """
    tapped = [link for link in spec.links if link.tap]
    for link in tapped:
        if one.where in link.roles:
            return link, None
    for link in tapped:
        if one.where == link.target:
            return link, "forward"
    there = ", ".join([*(role for link in tapped for role in link.roles), *(link.target for link in tapped)])
    raise FaultError(f"{one}: no tapped link is or leads into {one.where!r}; there are {there or 'none'}")


def slowed(service: str, duration_ms: float, spec: StackSpec) -> Fault:
    """What ``--voiceloop-slow`` asks for. Raises FaultError, or SpecError for no service of the stack."""
    spec.service(service)
    one = Fault("delay", service, duration_ms=duration_ms, option=f"--voiceloop-slow={service}={duration_ms:g}ms")
    place_of(one, spec)
    return one


class Passage(NamedTuple):
    """What becomes of a piece that passes: its bytes, when they may go, and what happens to the connection then."""

    data: bytes
    due_ns: int = 0
    ending: Literal["", "close", "half_close", "reset"] = ""
    crossed: bool = True


@dataclass(slots=True)
class Strike:
    """A fault in one turn. `moment_ns` is when its moment came, `at_ns` when it struck; None before that."""

    fault: Fault
    moment_ns: int | None = None
    at_ns: int | None = None
    seen: int = 0
    """Of the items that pass on its own stream, how many have."""
    struck: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Draw the same numbers in each turn."""
        self.rng = random.Random(self.fault.seed)  # noqa: S311 (to be drawn again, not to be secret)

    def comes(self, at_ns: int, *, item: bool) -> bool:
        """Whether the moment has come when something passes at `at_ns`; counts it if it is an item."""
        self.seen += item
        if self.fault.moment == "items" and item and self.seen == self.fault.item:
            self.moment_ns = at_ns + round(self.fault.after_ms * 1e6)
        return self.moment_ns is not None and self.moment_ns <= at_ns

    def now(self, at_ns: int) -> None:
        """It strikes; the first time is kept."""
        self.at_ns = at_ns if self.at_ns is None else self.at_ns


class Stream:
    """What passes one way on one link in a turn, over however many connections."""

    def __init__(self, strikes: Sequence[Strike]) -> None:
        self._strikes = strikes

    def through(self, data: bytes, at_ns: int, *, item: bool) -> Passage:
        """What becomes of a piece that came at `at_ns`: an item, or what stands between items."""
        passage = Passage(data)
        for strike in self._strikes:
            passage = _struck(strike, passage, at_ns, item=item)
        return passage


def _struck(strike: Strike, passage: Passage, at_ns: int, *, item: bool) -> Passage:
    one, come = strike.fault, strike.comes(at_ns, item=item)
    held_ns = round((one.duration_ms or 0) * 1e6)
    if one.kind in ("delay", "jitter"):
        strike.now(at_ns)
        late_ns = held_ns if one.kind == "delay" else strike.rng.randrange(held_ns + 1)
        return passage._replace(due_ns=max(passage.due_ns, at_ns) + late_ns)
    if not come:
        return passage
    if one.kind == "stall":
        assert strike.moment_ns is not None
        strike.now(strike.moment_ns)
        return passage._replace(due_ns=max(passage.due_ns, strike.moment_ns + held_ns))
    if strike.struck >= (one.items or 1):
        return passage
    if one.kind in ("reset", "half_close"):
        if one.moment != "items" or one.after_ms:
            # At a time of its own, whether anything passes or not: call/striking.py does it.
            return passage
        strike.struck += 1
        strike.now(at_ns)
        return Passage(b"", passage.due_ns, "reset" if one.kind == "reset" else "half_close", crossed=False)
    if not item:
        return passage
    strike.struck += 1
    strike.now(at_ns)
    if one.kind == "truncate":
        return passage._replace(data=passage.data[: len(passage.data) // 2], ending="close", crossed=False)
    if one.kind == "drop" and one.bytes is None:
        return passage._replace(data=b"", crossed=False)
    some = strike.rng.sample(range(len(passage.data)), min(one.bytes or 1, len(passage.data)))
    if one.kind == "drop":
        return passage._replace(data=bytes(b for place, b in enumerate(passage.data) if place not in set(some)))
    flipped = bytearray(passage.data)
    for place in some:
        flipped[place] ^= strike.rng.randrange(1, 256)
    return passage._replace(data=bytes(flipped))


class TurnFaults:
    """The faults that are in force in a turn, or, standing, whenever no turn of the call is under way."""

    def __init__(self, faults: Sequence[Fault], spec: StackSpec, spoken: Mapping[Link, LinkProtocol]) -> None:
        self.strikes = [Strike(one) for one in faults]
        self._spec = spec
        self._spoken = spoken
        self._streams: dict[tuple[Link, Direction], list[Strike]] = {}
        for strike in self.strikes:
            if KINDS[strike.fault.kind].place == "link":
                self._streams.setdefault(self.way(strike.fault), []).append(strike)

    def way(self, one: Fault) -> tuple[Link, Direction]:
        """The link of a fault on a link, and the direction that it strikes."""
        link, direction = place_of(one, self._spec)
        stamped = self._spoken[link].stamps
        other: Direction = "back" if stamped == "forward" else "forward"
        return link, direction or (stamped if one.where == link.role else other)

    def stream(self, link: Link, direction: Direction) -> Stream | None:
        """What is in force there; None if nothing is."""
        strikes = self._streams.get((link, direction))
        return Stream(strikes) if strikes else None

    def records(self, t0_ns: int) -> list[dict[str, Any]]:
        """What struck, as it stands in the JSON document's ``turns[].faults``."""
        return [self._record(s.fault, (s.at_ns - t0_ns) / 1e6) for s in self.strikes if s.at_ns is not None]

    def _record(self, one: Fault, at_ms: float) -> dict[str, Any]:
        where: dict[str, Any] = {}
        if KINDS[one.kind].place == "link":
            link, direction = self.way(one)
            role = link.stamps(direction, self._spoken[link].stamps)
            where = {"link": role or link.role, "into": link.target if direction == "forward" else link.source}
        elif KINDS[one.kind].place == "service":
            where = {"service": one.where}
        amounts = {"ms": one.duration_ms, "percent": one.percent, "snr_db": one.snr_db}
        given = {name: amount for name, amount in amounts.items() if amount is not None}
        return {"kind": one.kind, **where, **given, "at_ms": round(at_ms, 3), "line": str(one)}


class Faults:
    """The faults of a test. They strike in each of its turns, from when they are injected until they are lifted."""

    def __init__(self, given: Sequence[Fault]) -> None:
        self.in_force = list(given)
        self.given = list(given)
        """All that ever were in force."""

    def inject(self, kind: str, where: str = CALLER, **given: Any) -> Fault:
        """Put a fault in force for the turns that begin from now on; takes what the marker takes. Raises FaultError."""
        one = fault(kind, where, **given)
        self.in_force.append(one)
        self.given.append(one)
        return one

    def lift(self) -> None:
        """No fault is in force any more."""
        self.in_force.clear()


def sample_of(one: Fault, clip: Clip, rate_hz: int) -> int:
    """The sample of a clip at which a spoken moment comes, `after_ms` included. It may lie behind its end."""
    places = {"start": 0, "middle": (clip.speech_start + clip.speech_end) // 2, "t0": clip.speech_end}
    return places[one.moment] + round(one.after_ms * rate_hz / 1000)
