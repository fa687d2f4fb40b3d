"""Stored formats as Arrow tables: delimited text, JSON lines, Parquet, Delta."""
