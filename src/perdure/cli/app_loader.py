"""Imports the user's app from ``MODULE:APP``."""

from __future__ import annotations

import importlib
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Collection
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from perdure.app import App, encryption_of
from perdure.cli.process import UsageError
from perdure.stores.encryption import Encryption
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.values.errors import DefinitionError


def import_app(target: str) -> App[Any]:
    """Import an app. Modules are looked for in ``PYTHONPATH``, then in the current directory, then among the installed.

    Args:
        target: ``module:attribute``. The attribute is an ``App``, or a function without parameters that returns one. A
            dot selects a nested attribute.

    Raises:
        UsageError: the module or attribute does not exist, raises, or is not an app.
    """
    return _app(import_value(target), target)


def import_value(target: str) -> object:
    """Import a value that a module has.

    Args:
        target: ``module:attribute``, as for an app.

    Raises:
        UsageError: the module or attribute does not exist, or raises.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"{target!r} does not name an app; write MODULE:APP, such as 'shop.jobs:app'")
    # A common mistake: the import would report a missing module named "py".
    if module_name.endswith(".py") or "/" in module_name:
        name = module_name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
        raise UsageError(f"{target!r}: MODULE is the name of a module, not of a file; write {name}:{path}")
    return _attribute(_import(module_name), path, target)


def keys_of(app: App[Any]) -> Encryption | None:
    """Return the keys that encrypt an app's store. None if the app does not encrypt.

    Raises:
        UsageError: they cannot be read.
    """
    try:
        return encryption_of(app)
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def records_of(app: App[Any]) -> RecordCipher | None:
    """Return the cipher for an app's stored records. None if the app does not encrypt.

    Raises:
        UsageError: its keys cannot be read.
    """
    keys = keys_of(app)
    return None if keys is None else RecordCipher(keys)


def imported_code(target: str, before: Collection[str]) -> dict[str, str]:
    """Return the code files that importing an app loaded: its module, and packages that are not installed.

    Args:
        target: ``module:attribute``, which was imported.
        before: the module names that were loaded before.
    """
    module = target.partition(":")[0]
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = (*folders, *site.getsitepackages(), site.getusersitepackages())
    files = {module: sys.modules[module].__file__ or "(no file)"}
    for name in sorted(set(sys.modules) - set(before) - {module}):
        file = getattr(sys.modules[name], "__file__", None)
        if "." not in name and file is not None and not file.startswith(installed):
            files[name] = file
    return files


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        # A console script does not have the current folder in its path, as `python -m` has.
        sys.path.insert(_after_python_path(), here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The app's module exists, and one of its own imports is missing: the advice is another.
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _broke(error, f"{name} was found, and imports {error.name}, which is not installed") from error
        looked = f"looked in {here}, in PYTHONPATH and in the installed packages"
        raise UsageError(f"no module {error.name!r}; {looked}; check the name, or change the directory") from error
    except DefinitionError as error:
        raise UsageError(f"a definition in {name} is invalid: {error}") from error
    except Exception as error:
        raise _broke(error, f"importing {name} raised {type(error).__name__}: {error}") from error


def _after_python_path() -> int:
    """Return the place in ``sys.path`` after the folders that the user named, which take precedence as in Python."""
    named = {os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder}  # noqa: PTH100 - of text
    places = [place for place, folder in enumerate(sys.path) if os.path.abspath(folder or ".") in named]  # noqa: PTH100 - likewise
    return places[-1] + 1 if places else 0


def _attribute(module: ModuleType, path: str, target: str) -> object:
    value: object = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            apps = [found for found, thing in vars(module).items() if isinstance(thing, App)]
            hint = f"; it has {', '.join(f'{module.__name__}:{found}' for found in apps)}" if apps else ""
            raise UsageError(f"{target!r}: module {module.__name__} has no attribute {path!r}{hint}") from error
    return value


def _app(value: object, target: str) -> App[Any]:
    # A class is callable as well, and calling it would make something else than the user meant.
    if callable(value) and not isinstance(value, type):
        try:
            value = value()
        except DefinitionError as error:
            raise UsageError(f"a definition of {target} is invalid: {error}") from error
        except Exception as error:
            raise _broke(error, f"{target}() raised {type(error).__name__}: {error}") from error
    if isinstance(value, App):
        app: App[Any] = value  # pyright: ignore[reportUnknownVariableType] - its services are not known here
        return app
    raise UsageError(
        f"{target!r} is {_described(value)}, not an App; name the result of App(services).with_jobs(...), "
        "or a function without parameters that returns one"
    )


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def _broke(error: BaseException, problem: str) -> UsageError:
    # Without the frames of this loader and of the import system: the first line is the user's own.
    return UsageError(problem, details="".join(traceback.format_exception(type(error), error, _user_frames(error))))


def _user_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame that belongs to the user: after this module and the import system."""
    frame = error.__traceback__
    while frame is not None and (
        frame.tb_frame.f_code.co_filename in (__file__, importlib.__file__)
        or frame.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        frame = frame.tb_next
    return frame
