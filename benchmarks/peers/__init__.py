"""What a competent user would write instead of a daskpar job; each runs by itself: `python -m
benchmarks.peers.csv pool_parts ...`.
"""
