"""Brings files from URLs to a node ahead of the calls that read them: a process of its own, and its cache."""
