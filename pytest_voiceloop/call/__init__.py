"""The phone line: clips, pacing, taps, calls and the judge."""
