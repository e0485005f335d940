"""The time axis of a turn: moments after T0, laid out from 0 to 100 percent of a picture's width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MARGIN_MS = 40.0
"""The axis begins and ends so long before and after what is on it."""


class Tick(NamedTuple):
    """A mark on the time axis; `left` in percent of the axis."""

    left: float
    label: str


class Axis(NamedTuple):
    """Time from `start_ms` to `end_ms` after T0, laid out from 0 to 100 percent."""

    start_ms: float
    end_ms: float

    @classmethod
    def around(cls, moments_ms: Sequence[float]) -> Axis:
        """The axis that holds T0 and all of `moments_ms`."""
        return cls(min([0.0, *moments_ms]) - MARGIN_MS, max([0.0, *moments_ms]) + MARGIN_MS)

    def percent(self, at_ms: float) -> float:
        """Where a moment lies."""
        return round(100 * (at_ms - self.start_ms) / (self.end_ms - self.start_ms), 3)

    def step_ms(self) -> float:
        """A round distance of ticks, so that there are at most seven."""
        rough = (self.end_ms - self.start_ms) / 6
        magnitude = 10.0 ** math.floor(math.log10(rough))
        return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= rough)

    def grid(self, step_ms: float) -> tuple[float, float]:
        """Lines every `step_ms`, as a repeated background has it: its size and its position, both in percent."""
        size = 100 * step_ms / (self.end_ms - self.start_ms)
        first = self.percent(math.ceil(self.start_ms / step_ms) * step_ms)
        # CSS puts the tile's own p % at the box's p %.
        return round(size, 3), round(100 * first / (100 - size), 3)

    def ticks(self) -> list[Tick]:
        """Round times, 0 among them."""
        step = self.step_ms()
        first, last = math.ceil(self.start_ms / step), math.floor(self.end_ms / step)
        return [Tick(self.percent(number * step), f"{number * step:g}") for number in range(first, last + 1)]


class Zoom(NamedTuple):
    """The part of an axis that the ledgers take, for a view that is as wide as the whole one; all in percent."""

    width: float
    left: float
    ticks: Sequence[Tick]
    grid: tuple[float, float]

    @classmethod
    def into(cls, near: Axis, axis: Axis) -> Zoom:
        """The view of `axis` in which `near` fills the picture."""
        span_ms = near.end_ms - near.start_ms
        share = span_ms / (axis.end_ms - axis.start_ms)
        ticks = [Tick(axis.percent(near.start_ms + tick.left / 100 * span_ms), tick.label) for tick in near.ticks()]
        left = -axis.percent(near.start_ms) / share
        return cls(round(100 / share, 2), round(left, 2), ticks, axis.grid(near.step_ms()))
