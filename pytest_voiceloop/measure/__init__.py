"""What it means: timelines, speech edges, quality, statistics and budgets. Pure functions."""
