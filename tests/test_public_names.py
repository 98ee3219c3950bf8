import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import millwright


def test_there_are_at_most_twenty_public_names():
    assert len(millwright.__all__) <= 20
    assert dir(millwright) == sorted(millwright.__all__)


@pytest.mark.parametrize("name", millwright.__all__)
def test_each_public_name_can_be_had_and_is_documented(name):
    found = getattr(millwright, name)
    assert found
    assert name == "__version__" or inspect.getdoc(found)


def test_folders_of_the_same_name_do_not_hide_the_functions():
    for name in ("train.calibrate", "serve", "demo"):
        import_module(f"millwright.{name}")
    assert all(map(callable, (millwright.train, millwright.serve, millwright.demo)))


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match="no 'trian'.* train, turn"):
        _ = millwright.trian


def test_importing_the_package_imports_nothing_heavy():
    code = "import millwright, sys; assert not {'torch', 'transformers', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
