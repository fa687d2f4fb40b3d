"""What Dask loads: the node on each worker, the tracker and the guard on the scheduler."""
