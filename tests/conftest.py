"""Settings that hold for every test."""

from __future__ import annotations

from hypothesis import settings

# The machines that run this suite are small and shared: a slow example is no failure, and a failing one can be run again.
settings.register_profile("daskpar", deadline=None, print_blob=True)
settings.load_profile("daskpar")
