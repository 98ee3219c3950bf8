"""What this machine bears: a server under load from another process."""
