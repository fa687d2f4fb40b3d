"""Mini-batches: splits an input by size or keys, writes and reads the plan of it, and records their tries."""
