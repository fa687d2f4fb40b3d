"""The processes that run an entry script, and their node's side of them; nothing here knows of Dask."""
