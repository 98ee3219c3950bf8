"""Reads models in the Hugging Face Hub's layout: of a folder, fetched before, or over the network."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

TIMEOUT_S = 10.0

Made = TypeVar("Made")


def read_model(name: str, read: Callable[[bool], Made]) -> Made:
    """Read a model without the network where that can be, and otherwise ask the Hub once before fetching.

    Args:
        name: a local folder in the Hub's layout, or an id on the Hub.
        read: reads it; called with True where only local files may be read.

    Returns:
        What `read` made.

    Raises:
        OSError: the folder lacks a file, or the Hub does not have the model or is out of reach.
        ValueError: the files are of no known kind.
    """
    try:
        return read(True)
    except (OSError, ValueError):
        if Path(name).is_dir():
            raise
        _ask(name)
        return read(False)


def _ask(name: str) -> None:
    """Raise OSError at once if the Hub does not have it or is out of reach; a download tries for minutes."""
    from huggingface_hub import model_info  # here, since what is local needs no network library

    try:
        model_info(name, timeout=TIMEOUT_S)
    except Exception as error:  # the client raises its own classes and those of one HTTP library or another
        raise OSError(str(error) or type(error).__name__) from None
