"""Rows that people should look at: which, in what order, what they said, and how far they agree."""
