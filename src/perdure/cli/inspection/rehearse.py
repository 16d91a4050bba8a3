"""``perdure rehearse``: compares the acts of stored instances under new code and under the deployed code.

Each app runs in a process of its own, with its own folder and Python: both have the same module names. The processes
read and write JSON lines. No argument of an effect leaves them except as a keyed digest, and without secrets.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import IO, Annotated, Any, Final

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.app_loader import import_app, import_value, records_of
from perdure.cli.inspection.report import probed
from perdure.cli.options import AppArgument, Repeated, StoreOption, pair_of, share_of_calls
from perdure.cli.output import line_on_stderr, write_object
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.rehearsal.answers import FromJson, NoAnswers, Recorded, ServiceAnswers, recorded_in
from perdure.rehearsal.compare import RUNS, SAMPLE, RehearsalOptions, RehearsedPart, rehearse_with, run
from perdure.rehearsal.future import Futures
from perdure.rehearsal.image import Image, read_image
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, PerdureError
from perdure.values.times import duration_ms


def rehearse(
    app: AppArgument,
    *,
    against: str,
    store: StoreOption,
    for_: Annotated[str, Parameter(name="--for")] = "30 days",
    against_directory: Path | None = None,
    against_python: Path | None = None,
    sample: int | None = None,
    all: Annotated[bool, Parameter(negative="")] = False,  # noqa: A002 - the name of the option
    runs: int = RUNS,
    seed: int = 0,
    job: Repeated = (),
    id_prefix: str = "",
    answer: Repeated = (),
    services: str | None = None,
    fail: Repeated = (),
    latency: str = "0 ms",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare the acts of the instances in a store under new code and under the deployed code, in virtual time.

    Run it with the new code before you deploy it. It reads the store, or a backup, at one moment, beside its engines
    or without them. It takes no lock and writes nothing. Then it runs the instances in virtual time, under the code
    that is deployed today and under the new code, with the same clock, the same random numbers and the same answers of
    services, and compares their acts: effects, messages, parks, ends, states.

    No service is called. An effect gets the answer that you give, that of your fake services, one that a journal has
    recorded, or the first success of its declared type. The result names the effects of the last group.

    Exit code: 0 every instance has the same future, 1 there are differences, 2 the rehearsal cannot start.

    Parameters
    ----------
    against
        The app that is deployed today, written MODULE:APP.
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    for_
        How long, in virtual time.
    against_directory
        The folder with the code that is deployed today, such as a worktree of its release.
    against_python
        The Python that runs that code, if it has another environment.
    sample
        How many instances of each class run to the end, 100 by default. A class has the same job, state version,
        status and journal length.
    all
        Run all instances to the end.
    runs
        How many runs all other instances have. 0 leaves them out.
    seed
        Decides jitter, faults and the sample. The same seed prints the same result.
    job
        Only this job, written kind:name. Repeatable.
    id_prefix
        Only ids that begin with this text.
    answer
        The answer of an effect: NAME=JSON, such as 'fetch=3'. Repeatable.
    services
        Fake services, written MODULE:FAKES: a record, or a function without parameters that returns one.
    fail
        The share of an effect's calls that fail: NAME=SHARE, such as charge=5%. Repeatable.
    latency
        How long each call of a service takes, in virtual time.
    json
        Print one JSON object instead of text.
    """
    if all and sample is not None:
        raise UsageError("--sample and --all exclude each other")
    for option, number, least in (("--sample", sample, 1), ("--runs", runs, 0)):
        if number is not None and number < least:
            raise UsageError(f"{option} {number}: expected a number from {least} on")
    wanted, matches = _wanted(for_, answer, fail, latency), _matching(job, id_prefix)
    if against_directory is not None and not against_directory.is_dir():
        raise UsageError(f"--against-directory {against_directory}: there is no such folder")
    options = RehearsalOptions(
        lasting=wanted.lasting, sample=None if all else sample or SAMPLE, runs=0 if all else runs, seed=seed
    )
    line = line_on_stderr()
    with redirect_stdout(sys.stderr):  # the result has no text of the user's code
        records = records_of(import_app(app))
    try:
        with probed(store, line) as reader:
            image = read_image(reader, matches=matches, records=records)
        if not image.instances:
            raise UsageError("no instance matches; check --store, --job and --id-prefix")
        common = wanted.data | {"services": services, "options": _data_of(options), "recorded": _recorded(image)}
        with ExitStack() as stack:
            old_side = stack.enter_context(_side(against, against_directory, against_python, common))
            new_side = stack.enter_context(_side(app, None, None, common))

            def run_both(part: RehearsedPart) -> tuple[Futures, Futures]:
                line.show(f"{len(part.image.instances):,} instances, each under both apps, for {for_}")
                with ThreadPoolExecutor(2) as pool:
                    first = pool.submit(old_side.futures, part)
                    return first.result(), new_side.futures(part)

            done = rehearse_with(run_both, image, options)
    except (NoAnswers, DefinitionError) as refused:
        raise UsageError(str(refused)) from refused
    finally:
        line.clear()
    if json:
        write_object(done.data())
    else:
        write_lines(done.lines())
    return ExitCode.DONE if done.is_equal else ExitCode.FAILED


@attrs.frozen
class _Wanted:
    lasting: str
    data: dict[str, Any]


def _wanted(lasting: str, answer: Sequence[str], fail: Sequence[str], latency: str) -> _Wanted:
    """Check the options before any process starts.

    Raises:
        UsageError: one is not valid.
    """
    try:
        duration_ms(lasting, what="--for", minimum_ms=1)
        given = {name: FromJson(text).text for name, text in (pair_of(each, "--answer fetch=3") for each in answer)}
        shares = {name: share_of_calls(text) for name, text in (pair_of(each, "--fail charge=5%") for each in fail)}
        latency_ms = duration_ms(latency, what="--latency", minimum_ms=0)
        ServiceAnswers(fail=shares)
    except DefinitionError as problem:
        raise UsageError(str(problem)) from problem
    return _Wanted(lasting, {"given": given, "fail": shares, "latency_ms": latency_ms})


def _matching(jobs: Sequence[str], id_prefix: str) -> Any:
    for each in jobs:
        if each.count(":") != 1:
            raise UsageError(f"--job {each}: write kind:name, such as task:orders")

    def matches(address: Address) -> bool:
        return address.id.startswith(id_prefix) and (not jobs or f"{address.kind}:{address.name}" in jobs)

    return matches


def _data_of(options: RehearsalOptions) -> dict[str, Any]:
    return {
        "lasting": f"{options.lasting_ms} ms",
        "sample": options.sample,
        "runs": options.runs,
        "seed": options.seed,
    }


def _recorded(image: Image) -> dict[str, list[list[str]]]:
    return {name: [[one.form, one.value] for one in each] for name, each in recorded_in(image).items()}


# ---------------------------------------------------------------- the process of one app
_MAIN: Final = "from perdure.cli.inspection.rehearse import serve; serve()"


@attrs.frozen
class _Side:
    """The process that runs one app."""

    app: str
    process: subprocess.Popen[bytes]

    def futures(self, part: RehearsedPart) -> Futures:
        """Run a part, and wait for the futures.

        Raises:
            UsageError: the process cannot run it.
        """
        shallow = [*map(str, part.shallow)]
        return Futures.from_json(
            self.ask(b'{"image": %b, "shallow": %b}' % (part.image.to_json(), orjson.dumps(shallow)))
        )

    def ask(self, request: bytes) -> bytes:
        """Send a request, and return the answer."""
        ours, theirs = self.process.stdin, self.process.stdout
        if ours is None or theirs is None:
            raise TypeError(self.process)
        try:
            ours.write(request + b"\n")
            ours.flush()
        except OSError:
            raise self._ended() from None
        answer = theirs.readline()
        if not answer.endswith(b"\n"):
            raise self._ended()
        if answer.startswith(b"!"):
            raise UsageError(f"{self.app}: {orjson.loads(answer[1:])}")
        return answer

    def _ended(self) -> UsageError:
        code = self.process.wait()
        return UsageError(f"{self.app}: its process ended with the exit code {code}; its own output says why")


@contextmanager
def _side(app: str, directory: Path | None, python: Path | None, common: Mapping[str, Any]) -> Generator[_Side]:
    """Start the process of one app."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own code
            [str(python or sys.executable), "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
        )
    except OSError as error:
        raise UsageError(f"--against-python {python}: {error}") from error
    side = _Side(app, process)
    try:
        side.ask(orjson.dumps({"app": app, "key": KEY.hex(), **common}))
        yield side
    finally:
        process.kill()
        process.communicate()


KEY: Final = secrets.token_bytes(16)
"""The key of the digests of this process's rehearsals."""


def serve() -> None:
    """Serve the process that started this one: run the parts that it sends, until it closes standard input."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # text that the user's code prints is no answer
    requests = sys.stdin.buffer
    try:
        app, run_part = _prepared(orjson.loads(requests.readline()))
    except (UsageError, PerdureError) as refused:
        _answer(answers, b"!" + orjson.dumps(str(refused)))
        return
    _answer(answers, orjson.dumps(app))
    for request in requests:
        data = orjson.loads(request)
        part = RehearsedPart(
            Image.from_json(orjson.dumps(data["image"])), frozenset(map(Address.parse, data["shallow"]))
        )
        try:
            _answer(answers, run_part(part).to_json())
        except PerdureError as refused:
            _answer(answers, b"!" + orjson.dumps(str(refused)))


def _answer(answers: IO[bytes], line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()


def _prepared(common: dict[str, Any]) -> tuple[str, Any]:
    """Import an app, and return a function that runs parts."""
    app = import_app(common["app"])
    services = None if common["services"] is None else import_value(common["services"])
    answers = ServiceAnswers(
        given={name: FromJson(text) for name, text in common["given"].items()},
        services=services() if callable(services) else services,
        fail=common["fail"],
        latency_ms=common["latency_ms"],
    )
    options, key = RehearsalOptions(**common["options"]), bytes.fromhex(common["key"])
    recorded = {name: tuple(Recorded(*one) for one in each) for name, each in common["recorded"].items()}

    def run_part(part: RehearsedPart) -> Futures:
        return run(app, part, options, answers, key=key, recorded=recorded)

    return common["app"], run_part
