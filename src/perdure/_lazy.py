"""Postponed imports: a package's names that are imported at their first use, and modules that run at theirs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` for a package whose names are imported at their first use.

    Args:
        package: the package's name.
        modules: the names that the package exports, by the module that defines them.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def import_name(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return import_name, names


class _Postponed(ModuleType):
    """A module whose code has not run. The first thread that reads an attribute runs it, and the others wait.

    ``importlib.util.LazyLoader`` does the same, but before Python 3.12.3 it shows other threads the empty module.
    """

    def __getattribute__(self, name: str) -> object:
        own = super().__getattribute__
        run = own("__spec__").loader_state
        with run.lock:
            if not run.begun:
                run.begun = True
                try:
                    own("__spec__").loader.exec_module(self)
                # An interrupt during the import, too: the next read must import the module again, not find half of it.
                except BaseException:
                    run.begun = False
                    raise
                object.__setattr__(self, "__class__", ModuleType)  # no further read calls this function
        return own(name)


class _Run:
    """A postponed module's run."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.begun = False


def lazy_module(name: str) -> ModuleType:
    """Return a module whose code runs when one of its attributes is first read.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if name in sys.modules:  # to find it imports its package, which has imported it
        return sys.modules[name]
    spec.loader_state = _Run()
    module = module_from_spec(spec)
    object.__setattr__(module, "__class__", _Postponed)
    sys.modules[name] = module
    return module


def load_postponed() -> None:
    """Run this package's postponed modules, so that no request waits for them."""
    for name, module in sys.modules.copy().items():
        if name.startswith(f"{__package__}."):
            _ = module.__doc__  # reading any attribute runs a postponed module
