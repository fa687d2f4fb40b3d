"""A table as plain values, its pieces read as mini-batches, and the steps applied to them."""
