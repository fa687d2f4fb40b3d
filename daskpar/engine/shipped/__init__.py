"""Nodes that do not see the run directory: what is sent to them, and how their rows and logs come back."""
