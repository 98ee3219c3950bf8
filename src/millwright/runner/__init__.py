"""The wheel by itself: what is due, a turn that leaves the server its speed, and who leads."""
