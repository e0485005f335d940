"""Kokoro on onnxruntime: a text is spoken in chunks, and silence is not synthesized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from voiceloop_services import models, runtime
from voiceloop_services.kokoro import chunks, graph, sound
from voiceloop_services.kokoro.config import vocabulary
from voiceloop_services.kokoro.phonemes import pieces

if TYPE_CHECKING:
    import argparse
    import logging
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from voiceloop_services.kokoro.voices import Voice

INSTALL = "python -m pip install 'pytest-voiceloop[stack]'"
SAMPLES_PER_FRAME = sound.SAMPLE_RATE_HZ // chunks.FRAMES_PER_S
LEAD_FRAMES = 3
CONTEXT_FRAMES = 2
"""What a chunk sees of the silence before a text, and of its neighbours, made and thrown away. More of it changes
nothing that whisper hears."""
TYPICAL = (
    "It was late. Did you wait long for me?",
    "The weather was fine this morning, so we took the long way home and stopped at the bakery for bread.",
)
"""Whose means stand for all: statement and question, some ten seconds of speech."""
FADE_SAMPLES = sound.SAMPLE_RATE_HZ // 200
"""Chunks are laid over each other for 5 ms: a step between them would click."""

SILENT_TAIL = np.zeros(
    sound.TAIL_MARGIN_MS * sound.SAMPLE_RATE_HZ // 1000 - chunks.TAIL_VALUES * SAMPLES_PER_FRAME // 2, dtype=np.float32
)


class OnnxSpeaker:
    """Kokoro on onnxruntime. Raises runtime.MissingError where the model or a library is not there."""

    def __init__(self, options: argparse.Namespace, voice: Voice, log: logging.Logger) -> None:
        threads, device = options.threads, options.device
        located = models.locate("kokoro-82m-int8", options.model)
        try:
            import onnx  # noqa: F401 (so that it is missed here, not in the middle)
            import onnxruntime
        except ImportError as error:
            raise runtime.MissingError(f"the library {error.name}", INSTALL) from None
        from voiceloop_services.kokoro.phonemes import Phonemizer

        self._phonemes = Phonemizer(voice.accent)
        self._vocabulary = vocabulary(located)
        self._voice = voice
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

        def session(model: bytes | str) -> Any:
            return onnxruntime.InferenceSession(model, settings, providers=providers)

        halves = graph.split(located.path)
        if halves is None:
            log.warning("%s is another export than is known here: texts are spoken as a whole", located.path)
        self._text: Any = session(halves[0] if halves else str(located.path))
        self._sound: Any = None
        # Exports of Kokoro disagree on the name of the first input and on the type of the speed.
        inputs = {each.name: each.type for each in self._text.get_inputs()}
        self._tokens = "input_ids" if "input_ids" in inputs else "tokens"
        self._speed = np.array([options.speed], dtype=np.float32 if "float" in inputs["speed"] else np.int32)
        self._facts: dict[str, object] = runtime.model_facts(
            "kokoro-onnx",
            located,
            device=self._device,
            version=f"onnxruntime {onnxruntime.__version__}",
            settings={
                "voice": voice.name,
                "speed": float(self._speed[0]),
                "threads": threads,
                "g2p": "espeak",
                "in_chunks": halves is not None,
            },
        )
        if halves:
            showing, names = graph.showing_means(halves[1])
            self._sound = session(graph.with_means(halves[1], self._typical_means(session(showing), names)))

    def _typical_means(self, showing: Any, names: list[str]) -> dict[str, NDArray[np.float32]]:
        total, frames = [np.float32(0)] * len(names), 0
        for text in TYPICAL:
            for piece in pieces(self._phonemes(text), self._vocabulary):
                inputs = self._inputs(piece)
                features = self._text.run(list(graph.FEATURES), inputs)
                count = features[0].shape[2]
                means = showing.run(names, self._features(features, inputs["style"]))
                total = [so_far + mean * count for so_far, mean in zip(total, means, strict=True)]
                frames += count
        return {name: np.asarray(each / frames, dtype=np.float32) for name, each in zip(names, total, strict=True)}

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        return self._facts

    def speak(self, text: str, made_s: float = 0.0) -> Iterator[sound.Chunk]:
        """See engines.Speaker."""
        wanted = pieces(self._phonemes(text), self._vocabulary)
        for number, piece in enumerate(wanted, start=1):
            for samples, last in self._chunks(piece, made_s):
                made_s += len(samples) / sound.SAMPLE_RATE_HZ
                yield sound.Chunk(np.clip(samples, -1.0, 1.0), last and number == len(wanted))

    def _chunks(self, phonemes: str, made_s: float) -> Iterator[sound.Chunk]:
        inputs = self._inputs(phonemes)
        if self._sound is None:
            yield sound.Chunk(sound.trim(self._text.run(None, inputs)[0].ravel()), last=True)
            return
        text, pitch, loudness = self._text.run(list(graph.FEATURES), inputs)
        plan = chunks.plan(loudness[0], made_s)
        fading = np.zeros(0, dtype=np.float32)
        for first, end in plan:
            begin = max(0, first - (CONTEXT_FRAMES if len(fading) else LEAD_FRAMES))
            stop = min(plan[-1][1], end + CONTEXT_FRAMES)
            part = (text[:, :, begin:stop], pitch[:, 2 * begin : 2 * stop], loudness[:, 2 * begin : 2 * stop])
            made = self._sound.run(None, self._features(part, inputs["style"]))[0].ravel()
            audio, rest = np.split(made[(first - begin) * SAMPLES_PER_FRAME :], [(end - first) * SAMPLES_PER_FRAME])
            weight = np.linspace(0, 1, len(fading), dtype=np.float32)
            audio[: len(fading)] = weight * audio[: len(fading)] + (1 - weight) * fading
            fading = rest[:FADE_SAMPLES]
            last = end == plan[-1][1]
            yield sound.Chunk(np.concatenate((audio, SILENT_TAIL)) if last else audio, last)

    def _inputs(self, phonemes: str) -> dict[str, NDArray[Any]]:
        tokens = [self._vocabulary[symbol] for symbol in phonemes]
        return {
            self._tokens: np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self._voice.style(len(tokens)),
            "speed": self._speed,
        }

    def _features(self, features: Sequence[NDArray[np.float32]], style: NDArray[np.float32]) -> dict[str, Any]:
        return {**dict(zip(graph.FEATURES, features, strict=True)), "style": style}
