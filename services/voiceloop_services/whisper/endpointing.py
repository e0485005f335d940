"""When has the caller finished? A state machine on the audio's clock: windows in, events out, nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.wire.frames import AUDIO_IN_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEECH_FROM = 0.5
"""A window is speech from this probability on; speech that has begun lasts down to SPEECH_UNTIL."""
SPEECH_UNTIL = 0.35
PRE_ROLL_MS = 250
"""Audio kept from before the first window of speech: detectors are late on soft consonants."""
MIN_SPEECH_MS = 90
"""Less speech than this is a click, not an utterance."""
MIN_RESUMED_MS = 60
"""Only so much speech in one piece ends a pause; a breath does not."""
MAX_UTTERANCE_MS = 28_000
"""A monologue is cut here: whisper hears at most 30 s at once."""

_DANGLING = re.compile(
    r"\b(a|an|the|and|or|but|so|because|if|when|while|than|which|whose|of|to|in|on|at|by|for|from|with|about|as|into|"
    r"my|your|its|our|their|is|are|was|were|be|i'm|um+|uh+|er|erm|hmm)[.!]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rules:
    """How much silence means what, in milliseconds of audio."""

    silence_ms: int = 750
    """The utterance is over."""
    unfinished_ms: int = 1000
    """It is over although its words look unfinished."""
    early_ms: int = 96
    """It may be over: worth an early transcript. 0 switches early transcripts off."""


@dataclass(frozen=True, slots=True)
class Speech:
    """An utterance so far: float32 samples at 16 kHz with pre-roll and trailing silence, and where its speech lies."""

    samples: NDArray[np.float32]
    start_s: float
    end_s: float


class Kind(Enum):
    """What happened."""

    PAUSED = "paused"
    RESUMED = "resumed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """PAUSED and ENDED carry the speech; after PAUSED comes either RESUMED or ENDED."""

    kind: Kind
    speech: Speech | None = None


class Endpointer:
    """Cuts one call's audio into utterances.

    `needed_ms` is the silence that ends the utterance in progress. Whoever transcribes early sets it to None while
    the result is out (nothing ends before it) and to `silence_ms` or `unfinished_ms` when the words are known.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.needed_ms: int | None = rules.silence_ms
        self._clock = 0
        self._windows: list[NDArray[np.float32]] = []
        self._start = self._end = 0
        self._voiced = self._run = 0
        self._paused = False

    @property
    def clock_s(self) -> float:
        """How much audio has been heard."""
        return self._clock / AUDIO_IN_HZ

    def push(self, window: NDArray[np.float32], probability: float, *, early: bool = True) -> Event | None:
        """Take the next window, float32 at 16 kHz, shape (n,), and how probable speech is in it.

        `early` says whether PAUSED is wanted. At most one event comes of one window.
        """
        speaking = self._end > self._start
        voiced = probability >= (SPEECH_UNTIL if self._run else SPEECH_FROM)
        self._windows.append(window)
        self._clock += len(window)
        if not voiced:
            self._run = 0
            if not speaking:
                self._forget_all_but(PRE_ROLL_MS)
                return None
            return self._silence(early)
        self._run += len(window)
        if not speaking:
            self._start = self._clock - len(window)
        elif self._paused and _ms(self._run) < MIN_RESUMED_MS:
            return None
        self._voiced += self._run if self._paused else len(window)
        self._end = self._clock
        if self._paused:
            self._paused = False
            self.needed_ms = self.rules.silence_ms
            return Event(Kind.RESUMED)
        if _ms(self._clock - self._start) < MAX_UTTERANCE_MS:
            return None
        cut = self._ended()
        self._windows.clear()  # no pre-roll: the next utterance must not begin with this one's last word
        return cut

    def check(self) -> Event | None:
        """ENDED where the silence so far is enough. Ask after changing `needed_ms`."""
        if self._end == self._start or self.needed_ms is None or self._silent_ms() < self.needed_ms:
            return None
        if self._is_click():
            self._reset()
            return None
        return self._ended()

    def finish(self) -> Event | None:
        """No more audio will come: ENDED where there is an utterance in progress."""
        if self._end == self._start or self._is_click():
            self._reset()
            return None
        return self._ended()

    def _silence(self, early: bool) -> Event | None:
        ended = self.check()
        if ended or self._paused or not early or not 0 < self.rules.early_ms < self.rules.silence_ms:
            return ended
        if self._silent_ms() < self.rules.early_ms or self._is_click():
            return None
        self._paused = True
        return Event(Kind.PAUSED, self._speech())

    def _ended(self) -> Event:
        event = Event(Kind.ENDED, self._speech())
        self._reset()
        return event

    def _speech(self) -> Speech:
        return Speech(np.concatenate(self._windows), self._start / AUDIO_IN_HZ, self._end / AUDIO_IN_HZ)

    def _silent_ms(self) -> float:
        return _ms(self._clock - self._end)

    def _is_click(self) -> bool:
        return _ms(self._voiced) < MIN_SPEECH_MS

    def _reset(self) -> None:
        self._start = self._end = self._clock
        self._voiced = self._run = 0
        self._paused = False
        self.needed_ms = self.rules.silence_ms
        self._forget_all_but(PRE_ROLL_MS)

    def _forget_all_but(self, kept_ms: float) -> None:
        held = sum(map(len, self._windows))
        while self._windows and _ms(held - len(self._windows[0])) >= kept_ms:
            held -= len(self._windows.pop(0))


def looks_unfinished(text: str) -> bool:
    """Whether words sound as if more were to come: a dangling "and", a comma, no full stop at the end."""
    text = text.strip()
    ended = text.endswith((".", "!", "?")) and not text.endswith("...")
    return bool(text) and (not ended or _DANGLING.search(text) is not None)


def _ms(samples: int) -> float:
    return samples * 1000 / AUDIO_IN_HZ
