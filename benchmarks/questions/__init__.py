"""One module for each question; its `ask(settings)` runs the series and returns the answer with its bars."""
