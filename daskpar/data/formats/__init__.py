"""Stored formats to Arrow tables: delimited text, JSON lines, Parquet, Delta."""
