"""Programs: descriptions of work, as values.

This package exports everything that you need to write programs. `run_async` and `run_sync` run them.

Each name is imported at its first use: to build a program, no interpreter is needed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.programs.combinators import bracket, gather, race
    from perdure.programs.constructors import (
        as_program,
        asks,
        effect,
        fail,
        halt,
        lift,
        log,
        now,
        perform,
        sleep,
        sleep_until,
        succeed,
        traverse,
        when,
    )
    from perdure.programs.container import Do, Program, Schedule, program
    from perdure.programs.drivers import Handler, default_handler, run_async, run_sync
    from perdure.programs.errors import (
        EffectTimeout,
        FailureEscalated,
        HaltedOutside,
        NoInterpreter,
        NotAProgram,
        NothingReturned,
    )
    from perdure.programs.exit import Exit, Halted, Raised
    from perdure.programs.instructions import Instruction, ServiceCall
    from perdure.programs.interception import PASS, Interceptor, sandbox
    from perdure.runtime.errors import WouldBlock
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.programs.combinators": ("gather", "race", "bracket"),
            "perdure.programs.constructors": (
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
            "perdure.programs.errors": (
                "EffectTimeout",
                "FailureEscalated",
                "HaltedOutside",
                "NoInterpreter",
                "NotAProgram",
                "NothingReturned",
            ),
            "perdure.programs.exit": ("Exit", "Halted", "Raised"),
            "perdure.programs.instructions": ("ServiceCall", "Instruction"),
            "perdure.programs.interception": ("Interceptor", "PASS", "sandbox"),
            "perdure.runtime.errors": ("WouldBlock",),
        },
    )

__all__ = [
    "PASS",
    "Do",
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
    "NothingReturned",
    "Program",
    "Raised",
    "Schedule",
    "ServiceCall",
    "WouldBlock",
    "as_program",
    "asks",
    "bracket",
    "default_handler",
    "effect",
    "fail",
    "gather",
    "halt",
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
