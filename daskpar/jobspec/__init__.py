"""From YAML text to a checked job of frozen values (`model`), before anything starts. Way in: `load`."""
