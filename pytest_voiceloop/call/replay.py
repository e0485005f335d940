"""A recorded run said again: its transcripts and replies take the place of what the services say now.

The taps pass the recorded texts on at the moment at which the live ones cross. Each service then works on the very
input it had in the recorded run, so a stage is compared with itself, whatever its neighbour says today.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.wire.frames import Layout, encode_control, encode_hello, encode_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_voiceloop.measure.timeline import Role
    from pytest_voiceloop.stack.spec import StackSpec
    from pytest_voiceloop.wire.protocols import Passed

PROTOCOL = "voiceloop-text"
"""The protocol whose texts can be put in the place of others."""
Key = tuple[str, int]
"""Utterance id, and the turn's index in its call."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be passed on in a turn. `clauses` are the text frames of the reply."""

    transcript: str
    clauses: tuple[str, ...]

    @property
    def reply(self) -> str:
        """The reply's whole text."""
        return " ".join(self.clauses)


def scripts(turns: Iterable[Mapping[str, Any]]) -> dict[Key, Script]:
    """The scripts in a document's turns: for each utterance its first whole turn."""
    found: dict[Key, Script] = {}
    for turn in turns:
        transcript, reply = turn["transcript"]["text"], turn["reply"]
        clauses = tuple(reply.get("clauses") or filter(None, [reply["text"]]))
        if turn["status"] == "ok" and not turn["warmup"] and transcript and clauses:
            found.setdefault((turn["utterance"]["id"], turn["index"]), Script(transcript, clauses))
    return found


def obstacle(spec: StackSpec) -> str:
    """Why nothing can be replayed on this stack; empty if it can."""
    links = {link.role: link for link in spec.links if link.tap}
    for role in ("stt_llm", "llm_tts"):
        if role not in links:
            return f"no tapped link carries {role}"
        if links[role].protocol != PROTOCOL:
            return f"the link {role} speaks {links[role].protocol}, and only {PROTOCOL} can be said again"
    return ""


@dataclass(slots=True)
class Rewriter:
    """One text link of one turn. Give it every frame that crosses; it returns the bytes to pass on instead."""

    script: Script
    role: Role
    _passed: int = field(default=0, init=False)

    def rewrite(self, frame: Passed) -> bytes:
        """The bytes for one frame; empty where the recorded reply has no more clauses."""
        match frame.kind:
            case "text":
                return self._text()
            case "end":
                # A recorded reply that has more clauses than the live one is said to its end.
                rest = b"".join(iter(self._text, b"")) if self.role == "llm_tts" and self._passed else b""
                self._passed = 0
                return rest + encode_control("end", Layout.TEXT)
            case "cancel":
                self._passed = 0
                return encode_control("cancel", Layout.TEXT)
            case "bye":
                return encode_control("bye", Layout.TEXT)
            case _:
                return encode_hello(frame.payload.decode())

    def _text(self) -> bytes:
        if self.role == "stt_llm":
            return encode_text(self.script.transcript)
        if self._passed >= len(self.script.clauses):
            return b""
        self._passed += 1
        return encode_text(self.script.clauses[self._passed - 1])
