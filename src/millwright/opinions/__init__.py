"""How users are asked and heard: surveys, messages under a key, files of opinions."""
