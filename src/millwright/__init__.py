"""Millwright keeps the wheel of an AI product turning: prepare, train, serve, listen, turn.

These are the public names; each is imported when it is first used, so `import millwright` costs nothing.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millwright.data.prepare import prepare as prepare
    from millwright.demo import run_demo as demo
    from millwright.erase.erasure import erase as erase
    from millwright.erase.erasure import erase_all as erase_all
    from millwright.errors import BadInput as BadInput
    from millwright.errors import MillwrightError as MillwrightError
    from millwright.loop import turn as turn
    from millwright.project import Project as Project
    from millwright.project import open_project as open
    from millwright.registry.versions import list_versions as versions
    from millwright.registry.versions import roll_back as roll_back
    from millwright.scaffold import new_project as new
    from millwright.serve.promotion import promote as promote
    from millwright.settings import Settings as Settings
    from millwright.steps import evaluate as evaluate
    from millwright.steps import predict as predict
    from millwright.steps import train as train
    from millwright.surfaces.web import serve as serve
    from millwright.train.choose import compare_backbones as compare_backbones

    __version__: str

_HOMES = {
    "BadInput": ("millwright.errors", "BadInput"),
    "MillwrightError": ("millwright.errors", "MillwrightError"),
    "Project": ("millwright.project", "Project"),
    "Settings": ("millwright.settings", "Settings"),
    "compare_backbones": ("millwright.train.choose", "compare_backbones"),
    "demo": ("millwright.demo", "run_demo"),
    "erase": ("millwright.erase.erasure", "erase"),
    "erase_all": ("millwright.erase.erasure", "erase_all"),
    "evaluate": ("millwright.steps", "evaluate"),
    "new": ("millwright.scaffold", "new_project"),
    "open": ("millwright.project", "open_project"),
    "predict": ("millwright.steps", "predict"),
    "prepare": ("millwright.data.prepare", "prepare"),
    "promote": ("millwright.serve.promotion", "promote"),
    "roll_back": ("millwright.registry.versions", "roll_back"),
    "serve": ("millwright.surfaces.web", "serve"),
    "train": ("millwright.steps", "train"),
    "turn": ("millwright.loop", "turn"),
    "versions": ("millwright.registry.versions", "list_versions"),
}

__all__ = [
    "BadInput",
    "MillwrightError",
    "Project",
    "Settings",
    "__version__",
    "compare_backbones",
    "demo",
    "erase",
    "erase_all",
    "evaluate",
    "new",
    "open",
    "predict",
    "prepare",
    "promote",
    "roll_back",
    "serve",
    "train",
    "turn",
    "versions",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("millwright")
    if name not in _HOMES:
        raise AttributeError(f"millwright has no {name!r}; it has {', '.join(__all__)}")
    module, own_name = _HOMES[name]
    return getattr(import_module(module), own_name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Importing the folder millwright/train would hide the function millwright.train.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
