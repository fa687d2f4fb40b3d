"""The plan of mini-batches: which pieces of the input each call of `run()` gets."""
