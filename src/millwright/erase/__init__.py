"""One person out of everything: find, export, erase, prove."""
