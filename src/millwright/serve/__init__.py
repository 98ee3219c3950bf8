"""Answers many at once: a queue, batches, versions side by side; and a journal that loses nothing."""
