"""What one writes on a Sunday: the same models, each library's defaults, one process, stage after stage.

The whole utterance is transcribed, the whole reply is written, the whole reply is synthesized, all of it is sent, and
all of it is transcribed again. It is given the end of speech by the stack's own rule, and it is not made slow on
purpose: models are loaded and warm, and nothing is computed that the result does not need.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from pytest_voiceloop.measure.edges import first_audible
from pytest_voiceloop.wire import rtp
from voiceloop_services.llama.prompt import messages
from voiceloop_services.models import locate

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOICE = "af_heart"


@dataclass(frozen=True, slots=True)
class NaiveTurn:
    """One turn. Stages in ms; `stt` contains the wait for the end of speech to be noticed."""

    transcript: str
    reply: str
    heard: str
    reply_audio_s: float
    stages_ms: dict[str, float]
    leading_silence_ms: float

    @property
    def total_ms(self) -> float:
        """End of speech to the re-transcribed reply."""
        return sum(self.stages_ms.values())

    @property
    def voice_to_voice_ms(self) -> float:
        """End of speech to the first audible sample: everything but the re-transcription, and the silence in front."""
        return self.total_ms - self.stages_ms["retranscription"] + self.leading_silence_ms


class NaiveChain:
    """The three libraries as their READMEs use them."""

    def __init__(self, whisper: str = "whisper-base") -> None:
        from faster_whisper import WhisperModel
        from kokoro_onnx import Kokoro
        from llama_cpp import Llama, LlamaGrammar

        self._grammar = LlamaGrammar.from_string
        self._whisper = WhisperModel(str(locate(whisper).folder), device="cpu", compute_type="int8")
        self._llama = Llama(str(locate("smollm2-135m").path), n_ctx=2048, verbose=False)
        voices = Path(tempfile.mkdtemp()) / "voices.npz"
        raw = np.fromfile(locate("kokoro-voices").folder / f"{VOICE}.bin", dtype="<f4").reshape(510, 1, 256)
        np.savez(voices, **{VOICE: raw})
        self._kokoro = Kokoro(str(locate("kokoro-82m-int8").path), str(voices))

    def turn(self, speech: NDArray[np.float32], endpoint_ms: float, reply: str) -> NaiveTurn:
        """Answer float32 samples at 16 kHz, shape (n,); their end was noticed `endpoint_ms` after the last voiced one.

        The language model is held to `reply` by a grammar, so that both chains write and speak the same words.
        """
        at = [time.perf_counter()]
        transcript = self._transcribe(speech)
        at.append(time.perf_counter())
        written = self._answer(transcript, reply)
        at.append(time.perf_counter())
        audio, rate_hz = self._kokoro.create(written, voice=VOICE, speed=1.0, lang="en-us")
        at.append(time.perf_counter())
        telephone = rtp.decode_ulaw(rtp.encode_ulaw(soxr.resample(audio, rate_hz, rtp.RATE_HZ)))
        at.append(time.perf_counter())
        heard = self._transcribe(soxr.resample(telephone, rtp.RATE_HZ, 16_000))
        at.append(time.perf_counter())
        names = ("stt", "llm", "tts", "transfer", "retranscription")
        stages = {name: (b - a) * 1000 for name, a, b in zip(names, at[:-1], at[1:], strict=True)}
        stages["stt"] += endpoint_ms
        silence_ms = (first_audible(telephone, rtp.RATE_HZ) or 0) * 1000 / rtp.RATE_HZ
        return NaiveTurn(transcript, written, heard, len(audio) / rate_hz, stages, silence_ms)

    def _transcribe(self, samples: NDArray[np.float32]) -> str:
        segments, _ = self._whisper.transcribe(samples, language="en")
        return " ".join(segment.text.strip() for segment in segments)

    def _answer(self, transcript: str, reply: str) -> str:
        literal = reply.replace("\\", "\\\\").replace('"', '\\"')
        made: Any = self._llama.create_chat_completion(
            messages([], transcript), temperature=0.0, grammar=self._grammar(f'root ::= "{literal}"', verbose=False)
        )
        return str(made["choices"][0]["message"]["content"])
