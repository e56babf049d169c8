"""The camera side: trusted metadata, fetching, self-test, activation; no torch, no numpy."""
