"""What the caller says: utterances, and corpora of them.

A corpus is a folder with a ``manifest.json``::

    {"name": "mine", "synthetic": false, "utterances": [
        {"id": "hello", "file": "hello.wav", "text": "Hello there."},
        {"id": "second", "file": "long.wav", "from_s": 4.3, "to_s": 6.9, "text": "Glue the sheet."}]}

Any rate and format that soundfile reads will do. Speech edges are always found on the clip itself.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE_HZ = 16_000
_CUT_OFF = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
"""libsndfile's remark on a WAV whose header and size disagree: bytes claimed, bytes there."""
_STREAMED_BYTES = 0x7FFF_0000
"""A header that claims more than this was written before the length was known."""


class CorpusError(ValueError):
    """A clip or manifest that cannot be used; the message names file, key and remedy."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A clip with its text. `from_s` and `to_s` cut it out of a longer file; `to_s` None means to the end."""

    id: str
    path: Path
    text: str
    corpus: str = ""
    synthetic: bool = False
    from_s: float = 0.0
    to_s: float | None = None

    def __str__(self) -> str:
        """Its id, which is what pytest shows."""
        return self.id


@dataclass(frozen=True, slots=True)
class Clip:
    """An utterance ready to be played: float32 mono at 16 kHz in [-1, 1], shape (n,), and where its speech lies."""

    utterance: Utterance
    samples: NDArray[np.float32]
    speech_start: int
    speech_end: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """Named utterances. Indexing takes an id or a number."""

    name: str
    synthetic: bool
    utterances: tuple[Utterance, ...]

    def __iter__(self) -> Any:
        """The utterances in order."""
        return iter(self.utterances)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.utterances)

    def __getitem__(self, key: str | int) -> Utterance:
        """The utterance of that id or position. Raises KeyError that lists the ids."""
        if isinstance(key, int):
            return self.utterances[key]
        for utterance in self.utterances:
            if utterance.id == key:
                return utterance
        raise KeyError(
            f"no utterance {key!r} in corpus {self.name!r}; there are {', '.join(map(str, self.utterances))}"
        )

    def some(self, *ids: str) -> Corpus:
        """A corpus of just these ids."""
        return Corpus(self.name, self.synthetic, tuple(self[key] for key in ids))


def default_corpus_folder() -> Path:
    """Where the corpus that comes with the project lies, in a checkout and in an installed wheel alike."""
    installed = Path(__file__).parents[1] / "data"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "data"


def load_corpus(folder: Path, manifest: Path | None = None) -> Corpus:
    """The corpus in `folder`, described by `manifest` (default ``folder/manifest.json``). Reads no audio.

    Raises CorpusError.
    """
    path = manifest or folder / "manifest.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(
            f"{folder} has no manifest.json; write one that lists id, file and text of every clip (docs/corpus.md)"
        ) from None
    except (ValueError, OSError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from None
    entries = described.get("utterances") if isinstance(described, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CorpusError(f"{path} needs the key 'utterances' with a list of at least one utterance")
    name, synthetic = str(described.get("name", folder.name)), described.get("synthetic")
    if not isinstance(synthetic, bool):
        raise CorpusError(f"{path} needs the key 'synthetic': true for made speech, false for human speech")
    utterances = tuple(_utterance(path, folder, number, entry, name, synthetic) for number, entry in enumerate(entries))
    ids = [utterance.id for utterance in utterances]
    for one in ids:
        if ids.count(one) > 1:
            raise CorpusError(f"{path}: the id {one!r} stands twice; every utterance needs an id of its own")
    return Corpus(name, synthetic, utterances)


def _utterance(path: Path, folder: Path, number: int, entry: object, name: str, synthetic: bool) -> Utterance:
    where = f"{path}, utterance {number}"
    if not isinstance(entry, dict):
        raise CorpusError(f"{where} is no object with id, file and text")
    for key in ("id", "file", "text"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise CorpusError(f"{where} ({entry.get('id', 'without id')}) needs the key {key!r} with some text")
    span: dict[str, Any] = {key: entry[key] for key in ("from_s", "to_s") if key in entry}
    for key, value in span.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise CorpusError(f"{where} ({entry['id']}): {key} is {value!r}; write seconds from the file's start")
    if "to_s" in span and span["to_s"] <= span.get("from_s", 0.0):
        raise CorpusError(
            f"{where} ({entry['id']}): to_s is {span['to_s']!r}, which is not after from_s, {span.get('from_s', 0.0)!r}"
        )
    return Utterance(entry["id"], folder / entry["file"], entry["text"], name, synthetic, **span)


def load_clip(utterance: Utterance) -> Clip:
    """Read, mix down and resample a clip, and find its speech. Raises CorpusError."""
    import soundfile
    import soxr

    from pytest_voiceloop.measure.edges import speech_edges

    what = f"{utterance.path} (utterance {utterance.id!r})"
    try:
        with soundfile.SoundFile(utterance.path) as file:
            cut = _CUT_OFF.search(file.extra_info)
            if cut and int(cut[2]) < int(cut[1]) < _STREAMED_BYTES:
                raise CorpusError(
                    f"{what} is cut off: its header promises {cut[1]} bytes of audio and {cut[2]} are there; "
                    "copy or record it again"
                )
            rate_hz = file.samplerate
            first = min(round(utterance.from_s * rate_hz), file.frames)
            last = file.frames if utterance.to_s is None else round(utterance.to_s * rate_hz)
            if last > file.frames:
                raise CorpusError(
                    f"{what} ends after {file.frames / rate_hz:.2f} s, before its to_s of {utterance.to_s} s; "
                    "correct the manifest, or fetch the file again"
                )
            file.seek(first)
            audio = file.read(max(0, last - first), dtype="float32", always_2d=True)
            if len(audio) < last - first:
                raise CorpusError(f"{what} is cut off: {len(audio)} of {last - first} samples can be read")
    except (soundfile.LibsndfileError, OSError) as error:
        if not utterance.path.exists():
            raise CorpusError(f"{what} does not exist") from None
        raise CorpusError(f"{what} cannot be read as audio: {error}") from None
    if not len(audio):
        raise CorpusError(f"{what} is empty: no samples between {utterance.from_s} s and {utterance.to_s or 'its end'}")
    samples = soxr.resample(audio.mean(axis=1), rate_hz, RATE_HZ)
    edges = speech_edges(samples, RATE_HZ)
    if edges is None:
        raise CorpusError(
            f"{what} is silent: no speech rises above its noise, so there is no end of speech to time from"
        )
    return Clip(utterance, samples, edges.start, edges.end)


def as_utterance(clip: Utterance | Path | str, text: str | None) -> Utterance:
    """An utterance from a path and the text spoken in it. Raises CorpusError without text."""
    if isinstance(clip, Utterance):
        return clip
    path = Path(clip)
    if not text or not text.strip():
        raise CorpusError(f"{path}: say(path, text=…) needs the text that is spoken, to judge the transcript by")
    return Utterance(path.stem, path, text)
