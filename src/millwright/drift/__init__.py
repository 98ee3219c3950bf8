"""Whether what users send has changed since a version was promoted."""
