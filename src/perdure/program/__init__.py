"""Programs: descriptions of work, as values.

Everything that a program is written with is here; what runs it is `run_async` and `run_sync`.
"""

from perdure.program.concurrency import gather, race
from perdure.program.constructors import as_program, asks, fail, halt, lift, log, succeed, traverse, when
from perdure.program.container import Program, Schedule
from perdure.program.do import Do, program
from perdure.program.drivers import Handler, default_handler, run_async, run_sync
from perdure.program.effects import effect, perform
from perdure.program.errors import DeclaredFatal, HaltedOutside, NoInterpreter, NotAProgram, NothingReturned, TimedOut
from perdure.program.exit import Died, Exit, Halted
from perdure.program.instructions import Call, Instruction
from perdure.program.interception import PASS, Interceptor
from perdure.program.resources import bracket
from perdure.program.sandbox import sandbox
from perdure.program.time import now, sleep
from perdure.runtime.errors import WouldBlock

__all__ = [
    "PASS",
    "Call",
    "DeclaredFatal",
    "Died",
    "Do",
    "Exit",
    "Halted",
    "HaltedOutside",
    "Handler",
    "Instruction",
    "Interceptor",
    "NoInterpreter",
    "NotAProgram",
    "NothingReturned",
    "Program",
    "Schedule",
    "TimedOut",
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
    "succeed",
    "traverse",
    "when",
]
