"""Decisions while a step runs, as pure functions and bookkeeping: without Dask and without a clock."""
