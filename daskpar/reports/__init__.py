"""Watchers: they show and write what events say, and can never stop or slow a job."""
