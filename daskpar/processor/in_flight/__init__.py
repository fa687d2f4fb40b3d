"""Many calls in flight in one processor: what is given, begun, ended and lost."""
