"""The GPUs of a node: which there are, who has which, how they do, and which fail."""
