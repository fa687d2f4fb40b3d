"""Measures what daskpar costs next to what a user would write instead.

`python -m benchmarks` runs every question, prints a table and draws a figure.
"""
