"""Kokoro's voices: one style vector for each count of phonemes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voiceloop_services import models, runtime
from voiceloop_services.kokoro.phonemes import MAX_SYMBOLS

if TYPE_CHECKING:
    import logging

    from numpy.typing import NDArray

    from voiceloop_services.kokoro.phonemes import Accent


class Voice:
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
    def find(cls, name: str, log: logging.Logger) -> Voice:
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
    def _stopgap(cls, log: logging.Logger) -> Voice:
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
