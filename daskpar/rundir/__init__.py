"""The run directory: identity, lock, fingerprints of what a run depends on, and every path in it."""
