"""From files to an immutable dataset: load, recognise columns, clean, find duplicates, split."""
