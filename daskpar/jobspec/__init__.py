"""YAML text to frozen values: what the job is, checked whole before anything starts."""
