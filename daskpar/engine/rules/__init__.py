"""What is decided while a step runs, as pure bookkeeping: no Dask, no clock of its own."""
