"""What a tap adds to a frame: the same frames directly and through a tap, one after the other.

    python benchmarks/tap_cost.py [--frames 1000] [--json]

pytest_voiceloop/call/tap_cost.py says how it is measured. `voiceloop selftest` measures the same with fewer frames.
"""

from __future__ import annotations

import argparse
import json
import statistics

from pytest_voiceloop.call.tap_cost import FRAMES, Kind, tap_cost


def measure(kind: Kind, frames: int) -> dict[str, float]:
    cost = tap_cost(kind, frames)
    result: dict[str, float] = {"frames": frames, "frame_bytes": FRAMES[kind][1]}
    for label, at in (("p50", 0.5), ("p99", 0.99)):
        direct, tapped = (sorted(took)[int(at * (frames - 1))] for took in (cost.direct_ms, cost.tapped_ms))
        result |= {
            f"direct_{label}_ms": round(direct, 4),
            f"tapped_{label}_ms": round(tapped, 4),
            f"added_{label}_ms": round(tapped - direct, 4),
        }
    result["added_mean_ms"] = round(statistics.mean(cost.added_ms), 4)
    return result


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--frames", type=int, default=1000, help="frames of each kind, each way (default 1000)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    given = options.parse_args()
    results = {kind: measure(kind, given.frames) for kind in FRAMES}
    if given.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(f"{name} frames of {result['frame_bytes']} bytes, {given.frames} each way")
        for label in ("p50", "p99"):
            print(
                f"  {label}  direct {result[f'direct_{label}_ms']:.3f} ms   through a tap "
                f"{result[f'tapped_{label}_ms']:.3f} ms   added {result[f'added_{label}_ms']:.3f} ms"
            )


if __name__ == "__main__":
    main()
