"""What daskpar costs next to what a user would write instead. `python -m benchmarks` runs all, prints a
table, draws a figure.
"""
