"""Runs a job: start-up, its steps in order, each with a folder in the run directory, resume, the result."""
