"""The run directory: made, opened, locked; fingerprints of what a run depends on. Paths: `daskpar.paths`."""
