"""As little as a script can do for ten paths."""


def run(mini_batch):
    """The length of every path."""
    return [len(path) for path in mini_batch]
