"""What writes the replies: llama.cpp, or a script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from voiceloop_services.runtime import scripted_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from voiceloop_services.llama.prompt import Exchange

ENGINES = ("llama-cpp", "scripted")


class Writer(Protocol):
    """A loaded engine. `reply` may be called from several threads."""

    brief: bool
    """Whether its replies are to be cut after a sentence or two, see clauses."""

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        ...

    def reply(
        self, history: Sequence[Exchange], said: str, stopped: Callable[[], bool], begun: Callable[[], bool]
    ) -> Generator[str, None, None]:
        """The reply to `said`, a piece for each token, "" where it makes no text. It ends early once `stopped` says so.

        `begun` says that its beginning is being spoken. That is what the caller waits for, so the rest of the reply
        leaves the cores to the voice.
        """
        ...


class ScriptedWriter:
    """Replies as it is told to: `texts` are a call's first, second … reply; the last one repeats."""

    brief = False

    def __init__(self, texts: Sequence[str], delay_ms: int) -> None:
        self._texts = texts
        self._delay_ms = delay_ms

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        return scripted_facts({"delay_ms": self._delay_ms})

    def reply(
        self,
        history: Sequence[Exchange],
        said: str,
        stopped: Callable[[], bool],
        begun: Callable[[], bool],  # noqa: ARG002 (a script takes no cores)
    ) -> Generator[str, None, None]:
        """The scripted reply word by word, after the scripted delay; ``{said}`` stands for what was said."""
        deadline_s = time.monotonic() + self._delay_ms / 1000
        while (left_s := deadline_s - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left_s, 0.005))
        words = self._texts[min(len(history), len(self._texts) - 1)].replace("{said}", said).split(" ")
        for number, word in enumerate(words):
            if stopped():
                return
            yield f" {word}" if number else word
