"""Mini-batches: how an input is split, the plan that says so, and the records of their tries."""
