"""DNSMOS P.835: how good listeners would find a clip, guessed by a small network that was trained on their scores.

Model, window and the polynomial that brings its output to the listeners' scale are those of C. Reddy, V. Gopal and
R. Cutler, "DNSMOS P.835: A non-intrusive perceptual objective speech quality metric to evaluate noise suppressors"
(ICASSP 2022), as published in microsoft/DNS-Challenge, DNSMOS/dnsmos_local.py. The model's file is taken from the
package speechmos; its code, which needs librosa, is not run.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 16_000
WINDOW_SAMPLES = int(9.01 * RATE_HZ)
OVERALL = (-0.06766283, 1.11546468, 0.04602535)
"""The published fit of the overall score, highest power first."""
_OVERALL_OUTPUT = 2  # of signal, background, overall


def dnsmos(samples: NDArray[np.float32], rate_hz: int) -> float | None:
    """The overall score, about 1 (bad) to 5, of float32 mono samples in [-1, 1], shape (n,).

    None for an empty clip, and where the extra ``ear`` is not installed. Takes about 0.2 s of one core per window.
    """
    session = _session()
    if session is None or not len(samples):
        return None
    import soxr

    windows = _windows(soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ"))
    raw = [float(session.run(None, {"input_1": window[np.newaxis]})[0][0][_OVERALL_OUTPUT]) for window in windows]
    return float(np.mean(np.polyval(OVERALL, raw)))


def _windows(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Windows of 9.01 s that cover the clip, as few as can; a clip that is shorter is repeated until it fills one.

    The original repeats as well, and then takes a window at every second, which is many times the work for a mean
    that is nearly the same (docs/second-ear.md). For clips of 9.01 to 10 s it is one window, and the same.
    """
    if len(samples) < WINDOW_SAMPLES:
        return [np.resize(samples, WINDOW_SAMPLES)]
    # A last second is no window of its own, as in the original.
    count = -(-(len(samples) - RATE_HZ) // WINDOW_SAMPLES)
    starts = np.linspace(0, len(samples) - WINDOW_SAMPLES, count).astype(int)
    return [samples[start : start + WINDOW_SAMPLES] for start in starts]


@lru_cache(maxsize=1)
def _session() -> Any:
    """The model on one thread, or None where the package or onnxruntime is missing."""
    package = find_spec("speechmos")
    if package is None or package.origin is None or find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = Path(package.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
