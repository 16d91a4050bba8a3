"""Postponed imports: names of a package that are imported at their first use, and modules that run at theirs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package whose names are imported at their first use.

    Args:
        package: the name of the package.
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
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_postponed() -> None:
    """Run the postponed modules of this package, so that no request waits for them."""
    for name, module in sys.modules.copy().items():
        if name.startswith(f"{__package__}."):
            _ = module.__doc__  # reading any attribute runs a postponed module
