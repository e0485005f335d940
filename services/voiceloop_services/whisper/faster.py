"""The faster-whisper engine: CTranslate2 for the words, silero for the voice detection.

faster-whisper's own `transcribe` pads every utterance's features to 30 s and pays for all of it in the encoder. Here
the encoder sees what was said and a second of silence; what the decoder is given is then filled up with an encoding of
silence that was made once, so that it finds the long window it was trained on. A short window alone costs words.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_voiceloop.wire.frames import AUDIO_IN_HZ
from voiceloop_services.runtime import MissingError, model_facts
from voiceloop_services.whisper.engines import Heard

if TYPE_CHECKING:
    import argparse
    import logging

    from numpy.typing import NDArray

    from voiceloop_services.models import Located

LONGEST_S = 30
"""What whisper was trained on."""
MARGIN_S = 1.0
"""Silence that is encoded together with the speech; without any, whisper drops the last words."""
SHORTEST_S = 5.0
"""What is encoded at least."""
FRAMES_PER_S = 100
ENCODED_PER_S = 50
SILENCE_RMS = 0.001
"""Of the silence behind what is encoded: it hisses like a quiet line. An encoding of digital zeros cost more words."""
MAX_COMPRESSION = 2.4
NO_SPEECH_FROM = 0.6
UNLIKELY_BELOW = -1.0
"""OpenAI's own rule: a probable silence with improbable words has no words."""
INSTALL = "pip install 'pytest-voiceloop[stack]'"


class Silero:
    """One call's silero detector: 512 new samples at a time, 64 old ones as context, and the network's state."""

    window_samples = 512
    _context_samples = 64

    def __init__(self, session: Any) -> None:
        self._session = session
        self._hidden = np.zeros((1, 1, 128), dtype=np.float32)
        self._cell = np.zeros((1, 1, 128), dtype=np.float32)
        self._context = np.zeros(self._context_samples, dtype=np.float32)

    def probability(self, window: NDArray[np.float32]) -> float:
        """See engines.Detector."""
        heard = np.concatenate((self._context, window))[np.newaxis]
        found, self._hidden, self._cell = self._session.run(None, {"input": heard, "h": self._hidden, "c": self._cell})
        self._context = window[-self._context_samples :]
        return float(found[0])


class FasterWhisper:
    """A loaded model, warmed up. One transcription at a time: two at once would each take longer than both in turn."""

    def __init__(self, options: argparse.Namespace, model: Located, log: logging.Logger) -> None:
        # Two services on the same cores: threads that wait for work must not burn the other's time.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("KMP_BLOCKTIME", "0")
        try:
            import ctranslate2
            import faster_whisper
            from faster_whisper.tokenizer import Tokenizer
            from faster_whisper.transcribe import get_suppressed_tokens
        except ImportError as error:
            raise MissingError(f"the faster-whisper package ({error})", INSTALL) from None
        self._located = model
        self._version = f"faster-whisper {faster_whisper.__version__}, ctranslate2 {ctranslate2.__version__}"
        self._beam = options.beam
        self._window_s = options.window_s
        self._threads = options.threads or min(os.cpu_count() or 1, 4)
        self._device = _device(options.device, ctranslate2.get_cuda_device_count())
        self._log = log
        self._storage = ctranslate2.StorageView
        self._whisper = faster_whisper.WhisperModel(
            str(model.path),
            device=self._device,
            compute_type="int8" if self._device == "cpu" else "float16",
            cpu_threads=self._threads,
            local_files_only=True,
        )
        multilingual = self._whisper.model.is_multilingual
        self._tokenizer = Tokenizer(self._whisper.hf_tokenizer, multilingual, task="transcribe", language="en")
        self._prompt = self._whisper.get_prompt(self._tokenizer, [], without_timestamps=True)
        self._suppressed = get_suppressed_tokens(self._tokenizer, [-1])
        self._silence = self._encode(silence(LONGEST_S), LONGEST_S)
        self._silero = load_silero()
        self._lock = threading.Lock()
        detector = self.detector()
        detector.probability(np.zeros(detector.window_samples, dtype=np.float32))
        for _ in range(2):
            self.transcribe(np.zeros(AUDIO_IN_HZ, dtype=np.float32), 0)

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        return model_facts(
            "faster-whisper",
            self._located,
            device=self._device,
            version=self._version,
            settings={"beam": self._beam, "window_s": self._window_s, "threads": self._threads},
        )

    def detector(self) -> Silero:
        """A detector for a new call."""
        return Silero(self._silero)

    def transcribe(self, samples: NDArray[np.float32], index: int) -> Heard:  # noqa: ARG002 (only a script counts)
        """The words: float32 samples at 16 kHz, shape (n,). What is longer than 30 s is cut there."""
        seconds = len(samples) / AUDIO_IN_HZ
        encoded_s = min(max(SHORTEST_S, seconds + MARGIN_S), LONGEST_S)
        with self._lock:
            heard, suspicious = self._hear(samples, encoded_s)
            if suspicious and encoded_s < LONGEST_S:
                self._log.info('heard "%s" with %.0f s encoded; once more with %d s', heard.text, encoded_s, LONGEST_S)
                again, _ = self._hear(samples, LONGEST_S)
                frames, tokens = heard.encoder_frames + again.encoder_frames, heard.tokens + again.tokens
                heard = Heard(again.text, frames, tokens)
        return heard

    def _encode(self, samples: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
        """The encoder's view of samples, filled up with zeros: shape (1, seconds * ENCODED_PER_S, width).

        Behind speech, zeros cost no words; hiss there cost one or two in eighty.
        """
        frames = 2 * int(seconds * FRAMES_PER_S / 2)
        wanted = frames * AUDIO_IN_HZ // FRAMES_PER_S
        padded = np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))
        features = self._whisper.feature_extractor(padded, padding=0)[np.newaxis, :, :frames]
        encoded = self._whisper.model.encode(
            self._storage.from_array(np.ascontiguousarray(features, dtype=np.float32)), to_cpu=True
        )
        return np.array(encoded, dtype=np.float32)

    def _hear(self, samples: NDArray[np.float32], encoded_s: float) -> tuple[Heard, bool]:
        """The words, and whether they look like a loop."""
        encoded = self._encode(samples, encoded_s)
        following = self._silence[:, encoded.shape[1] : int(self._window_s * ENCODED_PER_S)]
        most_tokens = _most_tokens(len(samples) / AUDIO_IN_HZ)
        result = self._whisper.model.generate(
            self._storage.from_array(np.ascontiguousarray(np.concatenate((encoded, following), axis=1))),
            [self._prompt],
            beam_size=self._beam,
            max_length=len(self._prompt) + most_tokens,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = result.sequences_ids[0]
        text = self._tokenizer.decode(tokens).strip()
        if result.no_speech_prob > NO_SPEECH_FROM and result.scores[0] < UNLIKELY_BELOW:
            text = ""
        heard = Heard(text, encoded.shape[1], len(tokens))
        return heard, bool(text) and (len(tokens) >= most_tokens or looks_looped(text))


def silence(seconds: float) -> NDArray[np.float32]:
    """The hiss of a quiet line, the same at every call: float32 at 16 kHz, shape (n,)."""
    hiss = np.random.default_rng(0).standard_normal(int(seconds * AUDIO_IN_HZ)) * SILENCE_RMS
    return hiss.astype(np.float32)


def looks_looped(text: str) -> bool:
    """Whether a transcript repeats itself as whisper does when it has lost its way."""
    raw = text.encode()
    if len(raw) > 50 and len(raw) / len(zlib.compress(raw)) > MAX_COMPRESSION:
        return True
    words = re.sub(r"[^\w\s']", "", text.lower())
    return re.search(r"\b(\w[\w' ]{5,}?)(?: \1){2,}\b", words) is not None


def _most_tokens(seconds: float) -> int:
    """More than anybody says in so much time."""
    return min(16 + int(10 * seconds), 220)


def _device(asked: str, cuda_devices: int) -> str:
    if asked == "cuda" and not cuda_devices:
        raise MissingError("a CUDA device (--device cuda)", "use --device cpu or auto")
    return "cuda" if asked != "cpu" and cuda_devices else "cpu"


def load_silero() -> Any:
    """An onnxruntime session of the silero model that faster-whisper carries, on one thread."""
    import faster_whisper
    import onnxruntime

    path = Path(faster_whisper.__file__).parent / "assets" / "silero_vad_v6.onnx"
    if not path.is_file():
        raise MissingError(f"the silero model in the faster-whisper package: {path} is not there", INSTALL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
