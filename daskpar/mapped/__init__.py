"""A function over data: `map_mini_batches`, and how function and data get into a run directory."""
