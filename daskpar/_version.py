"""The version of daskpar, in a module of its own so that nobody imports the whole package to read it."""

__version__ = "0.1.0"
