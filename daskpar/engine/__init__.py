"""Runs steps on Dask: the cluster, the driver's loop (`execution`), its rules, plugins that Dask loads."""
