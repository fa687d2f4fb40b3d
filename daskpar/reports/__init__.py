"""Watchers: they hear events and show them, and can never stop or slow a job."""
