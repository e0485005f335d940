"""The caller: says utterances on a live stack and returns measured turns."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_voiceloop.call.assess import Occasion, measured
from pytest_voiceloop.call.corpus import Clip, Corpus, Utterance, as_utterance, load_clip
from pytest_voiceloop.call.line import Capture, Line, open_line
from pytest_voiceloop.measure.turn import Turn, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_voiceloop.call.live import LiveStack


class Simulator:
    """A caller on a live stack. The call starts with the first `say` and ends with `hang_up`.

    `on_turn` receives every turn with its raw capture as soon as it is measured.
    """

    def __init__(
        self,
        live: LiveStack,
        *,
        judged: bool = True,
        trials: int = 5,
        warmup: int = 1,
        on_turn: Callable[[Turn, Capture], Turn] = lambda turn, _: turn,
    ) -> None:
        self._live = live
        self._judged = judged
        self._trials = trials
        self._warmup = warmup
        self._on_turn = on_turn
        self._call = contextlib.ExitStack()
        self._line: Line | None = None
        self._said = 0

    @property
    def pace(self) -> str:
        """The reply's pace: asap or realtime."""
        return self._live.spec.pace

    def say(self, clip: Utterance | Path | str, text: str | None = None) -> Turn:
        """Say an utterance, or the clip at a path with the `text` spoken in it, and measure the reply.

        Said again it is the call's next turn. Raises CorpusError for a clip that cannot be used and StackError when
        the stack breaks; a reply that does not come is no exception but a turn with status "timeout".
        """
        __tracebackhide__ = True
        loaded = load_clip(as_utterance(clip, text))
        if self._line is None:
            self._line = self._call.enter_context(open_line(self._live))
        turn = self._measured(self._line, loaded, Occasion(self._said))
        self._said += 1
        return turn

    def measure(
        self, corpus: Corpus | Iterable[Utterance], trials: int | None = None, warmup: int | None = None
    ) -> Turns:
        """Say every utterance `trials` times, each on a new call, after `warmup` turns that are reported and left out.

        The defaults are the run's, ``--voiceloop-trials`` and ``--voiceloop-warmup``. Raises as `say` does; turns that
        were measured before that are in the report all the same.
        """
        __tracebackhide__ = True
        clips = [load_clip(utterance) for utterance in corpus]
        if not clips:
            raise ValueError("measure() needs at least one utterance")
        rounds = self._trials if trials is None else trials
        warming = self._warmup if warmup is None else warmup
        occasions = [(clips[n % len(clips)], Occasion(trial=n, warmup=True)) for n in range(warming)]
        occasions += [(clip, Occasion(trial=trial)) for trial in range(rounds) for clip in clips]
        turns = []
        for clip, occasion in occasions:
            with open_line(self._live) as line:
                turns.append(self._measured(line, clip, occasion))
        return Turns(tuple(turns))

    def hang_up(self) -> None:
        """End the call; `say` after it starts a new one."""
        self._line = None
        self._said = 0
        self._call.close()

    def _measured(self, line: Line, clip: Clip, occasion: Occasion) -> Turn:
        __tracebackhide__ = True
        capture = line.turn(clip, judged=self._judged)
        turn = self._on_turn(measured(capture, self._live, occasion, judged=self._judged), capture)
        if capture.broken:
            raise capture.broken
        return turn
