"""The environments of steps: how each is had on this machine, and building those that are to be built."""
