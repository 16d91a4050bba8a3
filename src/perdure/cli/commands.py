"""The commands by name. To add one, write a function for it and add a line here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import attrs
from cyclopts import App, CycloptsError, Group

from perdure.cli.process import ExitCode, UsageError, code_of
from perdure.values.errors import AccessDenied, PerdureError
from perdure.values.excerpt import one_line

WORKERS: Final = Group("Workers", sort_key=1)
READING: Final = Group("Instances and messages", sort_key=2)
CHANGING: Final = Group("Requests and changes", sort_key=3)
STORES: Final = Group("Store files", sort_key=4)


@attrs.frozen
class LazyCommand:
    """A command whose module is imported when a caller runs it, and not before.

    Attributes:
        function: its function, as ``module:name`` below ``perdure.cli``.
        help: the function docstring's first line, so that the command list imports no command.
        group: the heading that lists it.
    """

    function: str
    help: str
    group: Group

    @property
    def path(self) -> str:
        """The function as ``package.module:name``."""
        return f"perdure.cli.{self.function}"

    def load(self) -> Callable[..., Any]:
        """Import the module, and return the function."""
        module, _, name = self.path.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function


COMMANDS: Final[Mapping[str, LazyCommand]] = {
    "run": LazyCommand("run:run", "Serve the jobs of an app until SIGINT or SIGTERM.", WORKERS),
    "serve": LazyCommand(
        "run:serve",
        "Serve the jobs of an app over HTTP until SIGINT or SIGTERM: `perdure run` with an address.",
        WORKERS,
    ),
    "demo": LazyCommand(
        "demo.command:demo",
        "Run five jobs on real events, kill their process half-way, and prove that nothing was lost.",
        WORKERS,
    ),
    "token": LazyCommand(
        "maintenance:token",
        "Make a random token for a client of a server: its secret, and the line for the server's tokens file.",
        WORKERS,
    ),
    "mcp": LazyCommand(
        "engine:mcp",
        "Serve the operations of a running engine to an assistant, as tools of the Model Context Protocol.",
        WORKERS,
    ),
    "openapi": LazyCommand(
        "run:openapi",
        "Print the OpenAPI document of an app, which a server of it returns as `/openapi.json`.",
        WORKERS,
    ),
    "list": LazyCommand(
        "instances.reading:list_instances",
        "List instances, in the order of their addresses. It prints no states.",
        READING,
    ),
    "show": LazyCommand(
        "instances.reading:show",
        "Show one instance: its status, the steps that it waits for, how it ended, its last error and its state.",
        READING,
    ),
    "wait": LazyCommand(
        "instances.reading:wait", "Wait until one instance ends, or has a status. It does not poll.", READING
    ),
    "history": LazyCommand(
        "instances.reading:history",
        "Show the newest events of one instance, the newest first. They survive the instance until retention.",
        READING,
    ),
    "steps": LazyCommand(
        "instances.reading:steps",
        "Show the steps of one workflow: their times, attempts and outcomes, and the steps that it waits for.",
        READING,
    ),
    "tail": LazyCommand(
        "instances.reading:tail",
        "Print the chunks of a stream, from an offset on, until the instance has ended.",
        READING,
    ),
    "explain": LazyCommand(
        "instances.predictions:explain",
        "Show the effect of a request without applying it: changes of the instance, messages, events, the answer.",
        READING,
    ),
    "future": LazyCommand(
        "instances.predictions:future",
        "Show the future of one instance: if it is left alone, if an event comes, if a service is down.",
        READING,
    ),
    "debug": LazyCommand(
        "instances.debugging:debug",
        "Step through the journal of a workflow, or the history of another instance. Inspect it, and answer otherwise.",
        READING,
    ),
    "dead-letters": LazyCommand(
        "dead_letters:dead_letters",
        "List dead letters and parked items: messages and items of worker pools that failed too often.",
        READING,
    ),
    "left-messages": LazyCommand(
        "dead_letters:left_messages",
        "List messages that code left to other code, because it cannot read them or their target.",
        READING,
    ),
    "jobs": LazyCommand(
        "engine:jobs",
        "List the jobs that a running engine serves, the requests that they accept, and whether they are held.",
        READING,
    ),
    "counts": LazyCommand(
        "engine:counts", "Count the instances of a running engine by job and status, and its messages.", READING
    ),
    "demand": LazyCommand(
        "engine:demand",
        "Count the work that waits or runs, for each job that a running engine serves: what an autoscaler needs.",
        READING,
    ),
    "members": LazyCommand(
        "engine:members",
        "List the engines that share the store of a running engine. The engine of an owned store lists none.",
        READING,
    ),
    "limits": LazyCommand(
        "engine:limits",
        "List the limits with a name that a running engine knows: their numbers, and their use.",
        READING,
    ),
    "pool": LazyCommand(
        "engine:pool",
        "Show the progress of a worker pool: how many items wait, run, are done and parked, and how many end a second.",
        READING,
    ),
    "health": LazyCommand(
        "engine:health", "Report the health of a running engine, for supervisors and containers.", READING
    ),
    "metrics": LazyCommand(
        "engine:metrics", "Print the metrics of a running engine, as its `/metrics` exposes them.", READING
    ),
    "start": LazyCommand(
        "instances.requests:start", "Start a continuous job or a workflow. An existing instance is unchanged.", CHANGING
    ),
    "send": LazyCommand("instances.requests:send", "Send an event to a task. An absent instance is created.", CHANGING),
    "add": LazyCommand(
        "instances.requests:add", "Add an event to the batch of a debounce. The first one starts it.", CHANGING
    ),
    "put": LazyCommand(
        "instances.requests:put", "Put an item into a worker pool. An existing one is unchanged.", CHANGING
    ),
    "signal": LazyCommand(
        "instances.requests:signal",
        "Send a signal to a workflow. It is stored until the program receives it.",
        CHANGING,
    ),
    "complete": LazyCommand(
        "instances.requests:complete",
        "Complete a promise that a workflow waits for, unless it is settled, and print its outcome.",
        CHANGING,
    ),
    "update": LazyCommand(
        "instances.requests:update", "Send an update to a workflow, and print the reply of its program.", CHANGING
    ),
    "published": LazyCommand(
        "instances.requests:published", "Print a value that a workflow publishes, or wait for it.", READING
    ),
    "trigger": LazyCommand("instances.requests:trigger", "Run a continuous job or a task now.", CHANGING),
    "flush": LazyCommand("instances.requests:flush", "Flush the batch of a debounce now.", CHANGING),
    "call": LazyCommand(
        "instances.requests:call",
        "Send any request, also to a kind of job of your own. It asks for no confirmation.",
        CHANGING,
    ),
    "calls": LazyCommand(
        "instances.requests:calls",
        "Send many requests, such as starts, signals and cancellations. It asks for no confirmation.",
        CHANGING,
    ),
    "hold": LazyCommand(
        "engine:hold",
        "Hold a job: none of its runs begins until `perdure release`, also after a restart. Events are still handled.",
        CHANGING,
    ),
    "release": LazyCommand("engine:release", "Release a held job. Its overdue alarms fire.", CHANGING),
    "set-limit": LazyCommand(
        "engine:set_limit",
        "Change numbers of a limit with a name, for all engines on the store, until `perdure reset-limit`.",
        CHANGING,
    ),
    "reset-limit": LazyCommand(
        "engine:reset_limit", "Let a limit with a name have the numbers of the code again.", CHANGING
    ),
    "pause": LazyCommand(
        "instances.bulk_changes:pause", "Suspend alarms and retries of instances. Events are still handled.", CHANGING
    ),
    "resume": LazyCommand(
        "instances.bulk_changes:resume", "Resume paused or parked instances. An overdue alarm fires once.", CHANGING
    ),
    "retry": LazyCommand(
        "instances.bulk_changes:retry",
        "Run failed work now: of instances that wait for a retry, and of parked ones.",
        CHANGING,
    ),
    "cancel": LazyCommand(
        "instances.bulk_changes:cancel",
        "Cancel workflows, whose compensations then run, and items of pools that wait. It asks first.",
        CHANGING,
    ),
    "clear": LazyCommand(
        "instances.bulk_changes:clear",
        "Discard the batches of debounces that are not being flushed, after a question.",
        CHANGING,
    ),
    "fork": LazyCommand(
        "instances.bulk_changes:fork",
        "Begin a new workflow with the steps of each one up to a step. Exactly the steps from that one on run again.",
        CHANGING,
    ),
    "terminate": LazyCommand(
        "instances.bulk_changes:terminate",
        "Delete instances and their alarms, after a question. Their history stays until retention.",
        CHANGING,
    ),
    "redrive": LazyCommand(
        "dead_letters:redrive",
        "Deliver dead letters again, at their old position among the messages of their sender. Fix the cause first.",
        CHANGING,
    ),
    "forget-key": LazyCommand(
        "instances.requests:forget_key",
        "Forget an idempotency key, so that the request that used it can be made again.",
        CHANGING,
    ),
    "bury": LazyCommand(
        "dead_letters:bury",
        "Make messages that no code will ever read dead letters, so that those behind them are delivered.",
        CHANGING,
    ),
    "completion": LazyCommand(
        "completion:completion", "Print a script that completes commands and options in your shell.", WORKERS
    ),
    "key": LazyCommand(
        "maintenance:key",
        "Make a random key that encrypts stored data, as a line for `PERDURE_KEYS` or a file of keys.",
        STORES,
    ),
    "doctor": LazyCommand(
        "inspection.doctor:doctor",
        "Check the installation, and the store or the server that you name: each finding with its fix.",
        STORES,
    ),
    "bench": LazyCommand(
        "bench:bench",
        "Measure the disk of a folder and an engine on it: synced writes, and requests of 1 and of 64 clients.",
        STORES,
    ),
    "check": LazyCommand(
        "inspection.check:check",
        "Report stored data that the code of an app cannot decode, or with `--deploy` its changes since a version.",
        STORES,
    ),
    "rehearse": LazyCommand(
        "inspection.rehearse:rehearse",
        "Compare the acts of the instances in a store under new code and under the deployed code, in virtual time.",
        STORES,
    ),
    "capacity": LazyCommand(
        "inspection.rehearse:capacity",
        "Simulate the load of a store for several numbers of engines: lateness, runs in progress, commits and costs.",
        STORES,
    ),
    "definitions": LazyCommand(
        "inspection.check:definitions",
        "Print the types of an app's jobs, which `perdure check --deploy` compares with those of a later version.",
        STORES,
    ),
    "snapshot": LazyCommand(
        "inspection.snapshot:snapshot", "Write some rows of a store to a file, for tests of new code.", STORES
    ),
    "histories": LazyCommand(
        "inspection.snapshot:histories",
        "Write histories of a store to a file, with which a `JobMachine` begins its examples.",
        STORES,
    ),
    "backup": LazyCommand(
        "maintenance:backup",
        "Copy a store into a new file, or ship its changes to object storage.",
        STORES,
    ),
    "restore": LazyCommand(
        "maintenance:restore",
        "Restore a store from object storage into a new file, which is verified before it gets its name.",
        STORES,
    ),
    "backups": LazyCommand(
        "maintenance:backups",
        "List the backups at a URL: when each whole copy began, its newest object, and the size with its changes.",
        STORES,
    ),
    "verify": LazyCommand(
        "inspection.verify:verify",
        "Verify file and row integrity: SQLite checks the file, the library every row. It needs none of your code.",
        STORES,
    ),
    "stats": LazyCommand(
        "inspection.stats:stats",
        "Show counts and sizes: instances by job and status, messages, keys and events.",
        STORES,
    ),
    "migrate": LazyCommand(
        "maintenance:migrate",
        "Create the tables of a PostgreSQL store, or bring them to the version of this code.",
        STORES,
    ),
    "copy": LazyCommand(
        "maintenance:copy",
        "Copy a store into another one, of any kind, and compare every row. Stop the engines first.",
        STORES,
    ),
    "vacuum": LazyCommand("maintenance:vacuum", "Rebuild the file to reclaim space. Stop the engine first.", STORES),
}


def installed_version() -> str:
    """Return the installed version."""
    try:
        return f"perdure {version('perdure')}"
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "perdure (not installed)"


def command_line(called: str | None = None) -> App:
    """Build the command line.

    Args:
        called: the command to import now, so that its own help is complete. The others are imported when they are
            called.
    """
    app = App(
        name="perdure",
        help="Durable jobs written as pure programs.",
        version=installed_version,
        help_format="markdown",
        group_commands=Group("Options", sort_key=9),
    )
    for place, (name, command) in enumerate(COMMANDS.items()):
        if name == called:
            app.command(command.load(), name=name, group=command.group, sort_key=place)
        else:
            app.command(command.path, name=name, help=command.help, group=command.group, sort_key=place)
    return app


def _token_hint(error: PerdureError) -> str:
    if isinstance(error, AccessDenied) and error.cause != "not_local":
        return ". Commands read the token from PERDURE_TOKEN, or from the file that PERDURE_TOKEN_FILE names"
    return ""


def run_command(arguments: Sequence[str]) -> int:
    """Run a command. Turn a usage error into one line on standard error and an exit code."""
    app = command_line(arguments[0] if arguments else None)
    try:
        code = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return ExitCode.MISCONFIGURED
    except UsageError as problem:
        sys.stderr.write(f"{problem.details}perdure: {one_line(problem.problem)}\n")
        return problem.exit_code
    except PerdureError as error:
        sys.stderr.write(f"perdure: {one_line(f'{error}{_token_hint(error)}')}\n")
        return code_of(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else ExitCode.DONE
