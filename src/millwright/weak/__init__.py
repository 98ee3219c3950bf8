"""Labelling functions: what people know of labels, written as keywords or as Python, and what it is worth."""
