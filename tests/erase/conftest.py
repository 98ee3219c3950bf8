"""The desk that the tests of erasures share."""

from pathlib import Path

import pytest

from millwright.project import Project
from tests.desk import copy_desk
from tests.erase.people import served


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory, encoder) -> Path:
    """A desk with a champion and what people said to it. Copy it, don't touch it."""
    project = served(tmp_path_factory.mktemp("served") / "desk", encoder)
    project.database.dispose()
    return project.folder


@pytest.fixture
def desk(tmp_path, served_folder) -> Project:
    """A copy of the test's own."""
    return copy_desk(served_folder, tmp_path / "desk")
