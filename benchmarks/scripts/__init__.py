"""The user's own functions, the same for daskpar and for every peer."""
