"""Programs: descriptions of work, as values.

This package exports everything that you need to write programs. `run_async` and `run_sync` run them.

Each name is imported at its first use: to build a program, no interpreter is needed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.programs.constructors import (
        as_completed,
        as_program,
        asks,
        bracket,
        effect,
        fail,
        gather,
        halt,
        lift,
        log,
        now,
        perform,
        race,
        sleep,
        sleep_until,
        succeed,
        traverse,
        when,
    )
    from perdure.programs.container import Do, Program, Schedule, program
    from perdure.programs.drivers import Handler, default_handler, run_async, run_sync
    from perdure.programs.instructions import (
        EffectTimeout,
        Exit,
        FailureEscalated,
        Halted,
        HaltedOutside,
        Instruction,
        NoInterpreter,
        NotAProgram,
        NothingReturned,
        Raised,
        ServiceCall,
    )
    from perdure.programs.interpreter import PASS, Interceptor, sandbox
    from perdure.runtime.record import EffectProcessDied, NotSendable, WouldBlock
    from perdure.runtime.tasks import is_cancelled
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.programs.constructors": (
                "gather",
                "race",
                "as_completed",
                "bracket",
                "as_program",
                "asks",
                "fail",
                "halt",
                "lift",
                "log",
                "succeed",
                "traverse",
                "when",
                "effect",
                "perform",
                "now",
                "sleep",
                "sleep_until",
            ),
            "perdure.programs.container": ("Program", "Schedule", "Do", "program"),
            "perdure.programs.drivers": ("Handler", "default_handler", "run_async", "run_sync"),
            "perdure.programs.instructions": (
                "EffectTimeout",
                "FailureEscalated",
                "HaltedOutside",
                "NoInterpreter",
                "NotAProgram",
                "NothingReturned",
                "Exit",
                "Halted",
                "Raised",
                "ServiceCall",
                "Instruction",
            ),
            "perdure.programs.interpreter": ("Interceptor", "PASS", "sandbox"),
            "perdure.runtime.record": ("NotSendable", "EffectProcessDied", "WouldBlock"),
            "perdure.runtime.tasks": ("is_cancelled",),
        },
    )

__all__ = [
    "PASS",
    "Do",
    "EffectProcessDied",
    "EffectTimeout",
    "Exit",
    "FailureEscalated",
    "Halted",
    "HaltedOutside",
    "Handler",
    "Instruction",
    "Interceptor",
    "NoInterpreter",
    "NotAProgram",
    "NotSendable",
    "NothingReturned",
    "Program",
    "Raised",
    "Schedule",
    "ServiceCall",
    "WouldBlock",
    "as_completed",
    "as_program",
    "asks",
    "bracket",
    "default_handler",
    "effect",
    "fail",
    "gather",
    "halt",
    "is_cancelled",
    "lift",
    "log",
    "now",
    "perform",
    "program",
    "race",
    "run_async",
    "run_sync",
    "sandbox",
    "sleep",
    "sleep_until",
    "succeed",
    "traverse",
    "when",
]
