"""The child process that hosts an entry script, and the node's side of it. Knows nothing of Dask."""
