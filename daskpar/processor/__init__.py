"""The processes that run an entry script on a node, and the node's side of them. Nothing here knows of Dask."""
