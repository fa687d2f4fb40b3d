"""MLTable folders: the document checked, its files listed, its kinds inferred, and the table opened."""
