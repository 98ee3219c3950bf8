"""What differs between kinds of input, and nothing else. One file a kind; so far: text."""
