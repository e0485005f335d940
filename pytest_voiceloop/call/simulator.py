"""The caller: says utterances on a live stack and returns measured turns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_voiceloop.call.assess import Occasion, measured
from pytest_voiceloop.call.corpus import Clip, Corpus, Utterance, as_utterance, load_clip
from pytest_voiceloop.call.faults import Faults, check_all
from pytest_voiceloop.call.line import HUNG_UP, Capture, Line, open_line
from pytest_voiceloop.measure.durations import parse_ms
from pytest_voiceloop.measure.turn import Turn, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pytest_voiceloop.call.faults import Fault
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.replay import Script
    from pytest_voiceloop.measure.recovery import Recovery


EXTENDED = 2
"""How often the rounds of `measure` may be said again while a budget is undecided."""
REPEATS = 2
"""How often `measure` says a turn again that was void; what is void after that stays so."""


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A live stack that is phoned. `on_turn` gets each turn with its raw capture as soon as it is measured."""

    live: LiveStack
    on_turn: Callable[[Turn, Capture], Turn] = lambda turn, _: turn


class Simulator:
    """A caller on a live stack. The call starts with the first `say` and ends with `hang_up`.

    `on_turn` receives every turn with its raw capture as soon as it is measured. `script` gives what is to be replayed
    for an utterance and a turn's index. With a `base`, another version of the stack, everything is said to both,
    turn about, and the base begins every second time. `undecided` says whether further turns would tell more. `planned`
    is told how many turns `measure` is about to say, those apart that are said again. `faults` holds what is done to
    the stack in each turn.
    """

    def __init__(
        self,
        live: LiveStack,
        *,
        judged: bool = True,
        trials: int = 5,
        warmup: int = 1,
        on_turn: Callable[[Turn, Capture], Turn] = lambda turn, _: turn,
        script: Callable[[str, int], Script | None] = lambda _, __: None,
        base: Version | None = None,
        undecided: Callable[[], bool] = lambda: False,
        planned: Callable[[int], None] = lambda _: None,
        faults: Faults | None = None,
    ) -> None:
        self._head = Version(live, on_turn)
        self._base = base
        self._judged = judged and live.spec.judge.protocol != "none"
        self._trials = trials
        self._warmup = warmup
        self._script = script
        self._undecided = undecided
        self._planned = planned
        self._faults = Faults(()) if faults is None else faults
        self._call = contextlib.ExitStack()
        self._lines: dict[Version, Line] = {}
        self._said = 0

    @property
    def pace(self) -> str:
        """The reply's pace: asap or realtime."""
        return self._head.live.spec.pace

    def say(self, clip: Utterance | Path | str, text: str | None = None) -> Turn:
        """Say an utterance, or the clip at a path with the `text` spoken in it, and measure the reply.

        Said again it is the call's next turn. Raises CorpusError for a clip that cannot be used and StackError when
        the stack breaks; a reply that does not come is no exception but a turn with status "timeout".
        """
        __tracebackhide__ = True
        loaded = load_clip(as_utterance(clip, text))
        for version in self._versions(0):
            if version not in self._lines:
                self._lines[version] = self._call.enter_context(open_line(version.live))
        occasion = Occasion(self._said)
        turns = {
            version: self._measured(version, self._lines[version], loaded, occasion)
            for version in self._versions(self._said)
        }
        self._said += 1
        if HUNG_UP in turns[self._head].void_because:
            self.hang_up()
        return turns[self._head]

    def measure(
        self, corpus: Corpus | Iterable[Utterance], trials: int | None = None, warmup: int | None = None
    ) -> Turns:
        """Say every utterance `trials` times, each on a new call, after `warmup` turns that are reported and left out.

        The defaults are the run's, ``--voiceloop-trials`` and ``--voiceloop-warmup``. With
        ``--voiceloop-inconclusive=extend`` up to twice as many rounds follow while a budget is undecided. Raises as
        `say` does; turns that were measured before that are in the report all the same.

        A turn that was void is said again, up to REPEATS times. The first tries stay in the report.
        """
        __tracebackhide__ = True
        clips = [load_clip(utterance) for utterance in corpus]
        if not clips:
            raise ValueError("measure() needs at least one utterance")
        rounds = self._trials if trials is None else trials
        warming = self._warmup if warmup is None else warmup
        occasions = [(n, clips[n % len(clips)], Occasion(trial=n, warmup=True)) for n in range(warming)]
        for trial in range(rounds):
            occasions += _round(clips, trial)
        self._planned(len(occasions))
        turns = [turn for occasion in occasions for turn in self._answered(*occasion)]
        for trial in range(rounds, rounds * (1 + EXTENDED)):
            if not self._undecided():
                break
            self._planned(len(clips))
            turns += [turn for occasion in _round(clips, trial) for turn in self._answered(*occasion)]
        return Turns(tuple(turns))

    def recover(
        self,
        clip: Utterance | Path | str,
        text: str | None = None,
        *,
        beside: Utterance | Path | str | None = None,
        beside_text: str | None = None,
        patience: str = "5s",
        within: str = "60s",
    ) -> Recovery:
        """Say an utterance while the faults strike, lift them, and say it again until a reply is heard whole.

        It is said again when no whole reply has come `patience` after its end, and on a new call where the stack has
        closed this one or was silent twice. With `beside` another call says that, over and over, meanwhile. Gives up
        after `within`. These turns are judged by nobody and count for nothing else: they are reported like warm-up.

        Raises CorpusError as `say` does, and FaultError where no fault is in force, or none struck.
        """
        from pytest_voiceloop.call.recovering import recover

        self.hang_up()
        mine, other = load_clip(as_utterance(clip, text)), beside and load_clip(as_utterance(beside, beside_text))
        recovery = recover(
            self._head.live,
            mine,
            self._checked(self._head),
            beside=other or None,
            on_turn=self._head.on_turn,
            patience_s=parse_ms(patience, "patience") / 1000,
            within_s=parse_ms(within, "within") / 1000,
        )
        self._faults.lift()
        return recovery

    def hang_up(self) -> None:
        """End the call; `say` after it starts a new one."""
        self._lines = {}
        self._said = 0
        self._call.close()

    def _versions(self, number: int) -> list[Version]:
        """Who is phoned, in the order of this time: a machine that drifts drifts for both."""
        both = [self._head] if self._base is None else [self._head, self._base]
        return both[::-1] if number % 2 else both

    def _answered(self, number: int, clip: Clip, occasion: Occasion) -> list[Turn]:
        """One turn with each version: the tries it took with the head, of which the last one counts."""
        __tracebackhide__ = True
        return {version: self._tries(version, clip, occasion) for version in self._versions(number)}[self._head]

    def _tries(self, version: Version, clip: Clip, occasion: Occasion) -> list[Turn]:
        """A turn on a call of its own, and again while it is void. Warm-up counts for nothing, void or not."""
        __tracebackhide__ = True
        tries: list[Turn] = []
        for repeat in range(1 if occasion.warmup else 1 + REPEATS):
            with open_line(version.live) as line:
                tries.append(self._measured(version, line, clip, replace(occasion, repeat=repeat)))
            if tries[-1].status != "void":
                break
        return tries

    def _checked(self, version: Version) -> list[Fault]:
        """The faults that are in force. Raises FaultError for one that this stack cannot suffer."""
        check_all(self._faults.in_force, version.live.spec)
        return list(self._faults.in_force)

    def _measured(self, version: Version, line: Line, clip: Clip, occasion: Occasion) -> Turn:
        __tracebackhide__ = True
        script = self._script(clip.utterance.id, occasion.index)
        capture = line.turn(clip, judged=self._judged, script=script, faults=self._checked(version))
        turn = version.on_turn(measured(capture, version.live, occasion, judged=self._judged), capture)
        if capture.broken:
            raise capture.broken
        return turn


def _round(clips: Sequence[Clip], trial: int) -> list[tuple[int, Clip, Occasion]]:
    """Every clip once, each with a number that is even and odd by turns, along the clips and from trial to trial."""
    return [(place + trial, clip, Occasion(trial=trial)) for place, clip in enumerate(clips)]
