"""Personal data: what is found in texts, and what is put in its place."""
