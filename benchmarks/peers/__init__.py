"""What a competent user would write instead of a daskpar job.

Each runs by itself: `python -m benchmarks.peers.csv pool_parts ...`.
"""
