"""The source code that checks the laws of a state machine in a reproduction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from perdure.testing.world.reproduction import variable
from perdure.testing.world.source_repr import SourceRepr, name_of, source_of

if TYPE_CHECKING:
    from perdure.testing.machine.machine import JobMachine
    from perdure.testing.machine.model import Model

_LAWS = frozenset({("perdure.testing", "JobLaws")})


def laws_in_source(machine: JobMachine[Any], check: Literal["check", "check_at_rest"]) -> tuple[SourceRepr, SourceRepr]:
    """Return the line that watches the laws from the beginning, and the line that checks them.

    Where no module has a name for a function, its own name is written, for the reader to import or replace.

    Args:
        machine: the options of the state machine.
        check: the method of `JobLaws` that repeats the check.
    """
    job = name_of(machine.job)
    hint = "" if job is not None else f"  # the definition of {machine.job.name!r}"
    job = job or SourceRepr(f"{variable(machine.job.name)}_job")
    parts = [SourceRepr("world"), job]
    if machine.invariants:
        named = [_function(check) for check in machine.invariants]
        texts = "".join(f"{each.text}, " for each in named)
        imports = frozenset[tuple[str, str]]().union(*(each.imports for each in named))
        parts.append(SourceRepr(f"invariants=({texts.rstrip() if len(named) == 1 else texts.rstrip(', ')})", imports))
    if machine.model is not None:
        model = name_of(machine.model) or _model(machine.model)
        parts.append(SourceRepr(f"model={model.text}", model.imports))
    if machine.finished is not None:
        finished = _function(machine.finished)
        parts.append(SourceRepr(f"finished={finished.text}", finished.imports))
    text = ", ".join(part.text for part in parts)
    imports = _LAWS.union(*(part.imports for part in parts))
    return SourceRepr(f"laws = JobLaws({text}){hint}", imports), SourceRepr(f"laws.{check}()")


def _function(function: object) -> SourceRepr:
    name = getattr(function, "__name__", "")
    return name_of(function) or SourceRepr(name if name.isidentifier() else "condition")


def _model(model: Model[Any, Any]) -> SourceRepr:
    initial = _function(model.initial) if callable(model.initial) else source_of(model.initial)
    decide = _function(model.decide)
    command = "" if model.command is None else f", command={model.command!r}"
    imports = initial.imports | decide.imports | {("perdure.testing", "Model")}
    return SourceRepr(f"Model({initial.text}, {decide.text}{command})", imports)
