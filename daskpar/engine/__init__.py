"""Dask: cluster, dispatch of blocks, node plugin, tracker plugin."""
