"""Versions of a project: kept, named, promoted, rolled back."""
