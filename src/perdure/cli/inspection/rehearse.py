"""``perdure rehearse``: compares the acts of stored instances under new code and under the deployed code.

Each app runs in a process of its own, with its own folder and Python: both have the same module names. The processes
read and write JSON lines. No argument of an effect leaves them except as a keyed digest, and without secrets.
"""

from __future__ import annotations

import importlib
import os
import secrets
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import IO, Annotated, Any, Final, cast

import attrs
import orjson
from cyclopts import Parameter

from perdure.app import App
from perdure.cli.app_loader import import_app, import_value, records_of
from perdure.cli.inspection.report import probed
from perdure.cli.options import AppArgument, Repeated, StoreIfAny, StoreOption, pair_of, share_of_calls
from perdure.cli.output import ProgressLine, line_on_stderr, write_object
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.rehearsal.answers import FromJson, NoAnswers, Recorded, ServiceAnswers, recorded_in
from perdure.rehearsal.arrivals import LARGEST_ARRIVALS, MOST_ARRIVALS, NO_ARRIVALS, Arrivals, drawn, repeated
from perdure.rehearsal.compare import (
    RUNS,
    SAMPLE,
    Rehearsal,
    RehearsalOptions,
    RehearsedPart,
    RunBoth,
    rehearse_with,
    run,
)
from perdure.rehearsal.future import Futures
from perdure.rehearsal.image import Image, Matches, Meets, chosen_from, every, meeting, read_image
from perdure.rehearsal.past import NoArrivals
from perdure.rehearsal.simulated_load import MAX_ENGINES, CapacityOptions, measured_in
from perdure.rehearsal.simulated_load import capacity as simulated_capacity
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidArgument, PerdureError, StoreCorrupt
from perdure.values.times import duration_ms


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ArrivalOptions:
    """The requests that come from outside. By default there are none."""

    replay: Annotated[
        str | None,
        Parameter(help='Repeat the requests that the history of the last days has, such as "7 days".'),
    ] = None
    draw: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=False,
            negative="",
            help="Draw this many requests of a job a day: kind:name=NUMBER, such as task:orders=100. Repeatable.",
        ),
    ] = ()
    strategies: Annotated[
        str | None,
        Parameter(help="Strategies for drawn inputs, written MODULE:DICT. Its keys are kind:name.action."),
    ] = None
    most: Annotated[
        int,
        Parameter(help="How many requests arrive at most: all of an instance, or none."),
    ] = MOST_ARRIVALS

    def checked(self) -> None:
        """Check the options that need no app.

        Raises:
            UsageError: one is not valid.
        """
        if self.replay is not None and self.draw:
            raise UsageError("--replay and --draw exclude each other")
        if self.strategies is not None and not self.draw:
            raise UsageError("--strategies: they draw the inputs of --draw; pass that as well")
        if not 1 <= self.most <= LARGEST_ARRIVALS:
            raise UsageError(f"--most {self.most}: expected a number from 1 to {LARGEST_ARRIVALS:,}")
        if self.replay is not None:
            duration_ms(self.replay, what="--replay", minimum_ms=1)
        self.per_day()

    def per_day(self) -> dict[str, float]:
        """Return how many requests are drawn a day, by job."""
        return {
            job: _positive(number) for job, number in (pair_of(each, "--draw task:orders=100") for each in self.draw)
        }

    def arrivals(self, app: App[Any], image: Image, options: RehearsalOptions) -> Arrivals:
        """Return the requests.

        Raises:
            NoArrivals: the history has none.
        """
        if self.replay is not None:
            return repeated(app, image, options.lasting_ms, most=self.most)
        if not self.draw:
            return NO_ARRIVALS
        # Among the instances that are rehearsed to the end: requests to the others would lead out of the sample.
        chosen = chosen_from(image, sample=options.sample, seed=options.seed, rest=False)
        return drawn(
            app,
            image,
            options.lasting_ms,
            per_day=self.per_day(),
            seed=options.seed,
            among=chosen.deep,
            strategies=self._strategies(),
            most=self.most,
        )

    def _strategies(self) -> Mapping[str, Any] | None:
        if self.strategies is None:
            return None
        found = import_value(self.strategies)
        if not isinstance(found, Mapping):
            raise UsageError(f"--strategies {self.strategies}: expected a dict, got {type(found).__name__}")
        return cast("Mapping[str, Any]", found)


NO_REQUESTS: Final = ArrivalOptions()


def rehearse(
    app: AppArgument,
    *,
    against: str,
    store: StoreIfAny = None,
    snapshot: Path | None = None,
    for_: Annotated[str, Parameter(name="--for")] = "30 days",
    against_directory: Path | None = None,
    against_python: Path | None = None,
    sample: int | None = None,
    all: Annotated[bool, Parameter(negative="")] = False,  # noqa: A002 - the name of the option
    runs: int = RUNS,
    seed: int = 0,
    job: Repeated = (),
    id_prefix: str = "",
    where: Repeated = (),
    arrivals: ArrivalOptions = NO_REQUESTS,
    answer: Repeated = (),
    services: str | None = None,
    fail: Repeated = (),
    latency: str = "0 ms",
    html: Path | None = None,
    svg: Path | None = None,
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
    snapshot
        Instead of a store, a file that perdure snapshot has written: a few instances of each class, redacted.
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
    where
        Only instances with such an attribute, written 'amount>100'. Repeatable. It needs one --job.
    answer
        The answer of an effect: NAME=JSON, such as 'fetch=3'. Repeatable.
    services
        Fake services, written MODULE:FAKES: a record, or a function without parameters that returns one.
    fail
        The share of an effect's calls that fail: NAME=SHARE, such as charge=5%. Repeatable.
    latency
        How long each call of a service takes, in virtual time.
    html
        Also write the result to this file, as a page with pictures. It needs the extra 'dashboard'.
    svg
        Also write the picture of the largest difference to this file. It needs the extra 'dashboard'.
    json
        Print one JSON object instead of text. The dashboard shows it.
    """
    _check(sample, runs, against_directory, (job, where), everything=all)
    wanted, matches, line = _wanted(for_, answer, fail, latency, arrivals), _matching(job, id_prefix), line_on_stderr()
    options = RehearsalOptions(
        lasting=wanted.lasting, sample=None if all else sample or SAMPLE, runs=0 if all else runs, seed=seed
    )
    try:
        with redirect_stdout(sys.stderr):  # the result has no text of the user's code
            own = import_app(app)
            meets = meeting(own, job[0], where) if where else every
            if snapshot is not None:
                image = _snapshot_image(snapshot, matches, meets, arrivals)
            else:
                with probed(_given(store), line) as reader:
                    records = records_of(own)
                    image = read_image(reader, matches=matches, meets=meets, records=records, history=arrivals.replay)
            if not image.instances and not image.history:
                raise UsageError("no instance matches; check --store, --job, --id-prefix and --where")
            requests = arrivals.arrivals(own, image, options)
        common = wanted.data | {"services": services, "options": _data_of(options), "recorded": _recorded(image)}
        with (
            _side(against, against_directory, against_python, common) as old_side,
            _side(app, None, None, common) as new_side,
        ):
            both = _both(old_side, new_side, line, for_)
            done = rehearse_with(both, image, options, requests, answers=wanted.answers)
    except (NoAnswers, NoArrivals, DefinitionError, InvalidArgument) as refused:
        raise UsageError(str(refused)) from refused
    finally:
        line.clear()
    _write_pictures(done, html, svg)
    if json:
        write_object(done.data())
    else:
        write_lines(done.lines())
    return ExitCode.DONE if done.is_equal else ExitCode.FAILED


def _given(store: str | None) -> str:
    if store is None:
        raise UsageError("which instances: pass --store URL, or --snapshot FILE that perdure snapshot has written")
    return store


def _snapshot_image(file: Path, matches: Matches, meets: Meets, arrivals: ArrivalOptions) -> Image:
    if arrivals.replay is not None:
        raise UsageError("--replay: a snapshot has no history; pass --store, or draw requests with --draw")
    try:
        return Image.from_snapshot(file.read_bytes(), what=f"--snapshot {file}", matches=matches, meets=meets)
    except (OSError, StoreCorrupt) as unreadable:
        raise UsageError(str(unreadable)) from unreadable


def _check(
    sample: int | None,
    runs: int,
    against_directory: Path | None,
    filters: tuple[Sequence[str], Sequence[str]],
    *,
    everything: bool,
) -> None:
    job, where = filters
    if where and len(job) != 1:
        raise UsageError("--where: conditions are on the attributes of one job; pass one --job kind:name as well")
    if everything and sample is not None:
        raise UsageError("--sample and --all exclude each other")
    for option, number, least in (("--sample", sample, 1), ("--runs", runs, 0)):
        if number is not None and number < least:
            raise UsageError(f"{option} {number}: expected a number from {least} on")
    if against_directory is not None and not against_directory.is_dir():
        raise UsageError(f"--against-directory {against_directory}: there is no such folder")


def _both(old_side: _Side, new_side: _Side, line: ProgressLine, lasting: str) -> RunBoth:
    def run_both(part: RehearsedPart) -> tuple[Futures, Futures]:
        line.show(f"{len(part.image.instances):,} instances, each under both apps, for {lasting}")
        # Both at the same time: each is a process of its own, and the thread only waits for one of them.
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(old_side.futures, part)
            return first.result(), new_side.futures(part)

    return run_both


def _write_pictures(done: Rehearsal, html: Path | None, svg: Path | None) -> None:
    if html is None and svg is None:
        return
    try:
        # By name: the command must work without the extra.
        timeline = importlib.import_module("perdure.dashboard.timeline")
    except ModuleNotFoundError as missing:
        text = f"--html and --svg: no module {missing.name}: pip install 'perdure[dashboard]'"
        raise UsageError(text) from missing
    result = timeline.RehearsalResult.from_json(orjson.dumps(done.data()).decode())
    texts: list[tuple[Path, str]] = []
    if html is not None:
        style = (files("perdure.dashboard") / "static" / "dashboard.css").read_text(encoding="utf-8")
        texts.append((html, timeline.rehearsal_report(result, style)))
    if svg is not None and result.groups:
        texts.append((svg, timeline.rehearsal_picture(result, result.groups[0])))
    for path, text in texts:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: {error}") from error


@attrs.frozen
class _Wanted:
    lasting: str
    data: dict[str, Any]
    answers: ServiceAnswers


def _wanted(
    lasting: str, answer: Sequence[str], fail: Sequence[str], latency: str, arrivals: ArrivalOptions
) -> _Wanted:
    """Check the options before any process starts.

    Raises:
        UsageError: one is not valid.
    """
    try:
        duration_ms(lasting, what="--for", minimum_ms=1)
        given = {name: FromJson(text) for name, text in (pair_of(each, "--answer fetch=3") for each in answer)}
        shares = {name: share_of_calls(text) for name, text in (pair_of(each, "--fail charge=5%") for each in fail)}
        latency_ms = duration_ms(latency, what="--latency", minimum_ms=0)
        answers = ServiceAnswers(given=given, fail=shares)
        arrivals.checked()
    except DefinitionError as problem:
        raise UsageError(str(problem)) from problem
    texts = {name: each.text for name, each in given.items()}
    return _Wanted(lasting, {"given": texts, "fail": shares, "latency_ms": latency_ms}, answers)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(f"{text!r} is no number of requests a day; write 100")
    return number


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


# ---------------------------------------------------------------- capacity
def capacity(
    app: AppArgument,
    *,
    store: StoreOption,
    for_: Annotated[str, Parameter(name="--for")] = "7 days",
    engines: str = "1,2,4",
    duration: Repeated = (),
    cost: Repeated = (),
    arrivals: float = 1.0,
    seed: int = 0,
    answer: Repeated = (),
    services: str | None = None,
    fail: Repeated = (),
    svg: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Simulate the load of a store for several numbers of engines: lateness, runs in progress, commits and costs.

    It reads the store, or a backup, at one moment, without a lock and beside its engines, and writes nothing to it.
    Then the instances run in virtual time, and the requests of the history come again. Services are not called: calls
    take the time that you give, that journals or runs have recorded, or 100 ms. The result says which.

    Exit code: 0 the result is printed, 2 the simulation cannot start.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    for_
        How long, in virtual time.
    engines
        The numbers of engines, separated by commas, each from 1 to 64.
    duration
        How long a call of an effect takes: NAME=DURATION, such as 'charge=800 ms'. Repeatable.
    cost
        The cost of one call of an effect: NAME=NUMBER, such as charge=0.02. Repeatable.
    arrivals
        How many times the requests of the history come: 1 as often, 2 twice, 0 none.
    seed
        Decides durations and jitter. The same seed prints the same result.
    answer
        The answer of an effect: NAME=JSON, such as 'fetch=3'. Repeatable.
    services
        Fake services, written MODULE:FAKES: a record, or a function without parameters that returns one.
    fail
        The share of an effect's calls that fail: NAME=SHARE, such as charge=5%. Repeatable.
    svg
        A file for a picture of the lateness over time. An earlier one is replaced.
    json
        Print one JSON object instead of text.
    """
    wanted = _wanted(for_, answer, fail, "0 ms", NO_REQUESTS)
    if not 0 <= arrivals <= MAX_ENGINES:
        raise UsageError(f"--arrivals {arrivals}: expected a factor from 0 to {MAX_ENGINES}")
    try:
        numbers = tuple(int(each) for each in engines.split(","))
        costs = {name: float(text) for name, text in (pair_of(each, "--cost charge=0.02") for each in cost)}
        options = CapacityOptions(
            lasting=for_,
            engines=numbers,
            durations=dict(pair_of(each, "--duration 'charge=800 ms'") for each in duration),
            costs=costs,
            arrivals=arrivals,
            seed=seed,
        )
    except (ValueError, DefinitionError) as problem:
        raise UsageError(f"{problem}; write --engines 1,2,4 and --cost charge=0.02") from problem
    line = line_on_stderr()
    with redirect_stdout(sys.stderr):  # the result has no text of the user's code
        code = import_app(app)
        fakes = None if services is None else import_value(services)
    records = records_of(code)
    try:
        with probed(store, line) as reader:
            image = read_image(reader, records=records)
            past = measured_in(reader, image, records=records)
        line.show(f"{len(image.instances):,} instances and {len(past.arrivals):,} arrivals, for {for_}")
        given = {name: FromJson(text) for name, text in wanted.data["given"].items()}
        answers = ServiceAnswers(given=given, services=fakes() if callable(fakes) else fakes, fail=wanted.data["fail"])
        found = simulated_capacity(code, image=image, past=past, options=options, answers=answers)
        if svg is not None:
            svg.write_text(found.svg(), encoding="utf-8")
    except (NoAnswers, DefinitionError, OSError) as refused:
        raise UsageError(str(refused)) from refused
    finally:
        line.clear()
    if json:
        write_object(found.data())
    else:
        write_lines(found.lines())
    return ExitCode.DONE


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
            self.ask(
                b'{"image": %b, "shallow": %b, "arrivals": %b}'
                % (part.image.to_json(), orjson.dumps(shallow), part.arrivals.to_json())
            )
        )

    def ask(self, request: bytes) -> bytes:
        """Send a request, and return the answer."""
        ours, theirs = self.process.stdin, self.process.stdout
        if ours is None or theirs is None:
            raise TypeError(self.process)
        try:
            ours.write(request + b"\n")
            # The other process reads lines: one in a buffer would make both wait.
            ours.flush()
        except OSError:
            raise self._ended() from None
        answer = theirs.readline()
        # A line without its end: the process died while it wrote.
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
        # It has nothing to save, and may be in the middle of a part.
        process.kill()
        process.communicate()


# Random: digests of short secrets in the other process's output cannot be found by trying.
KEY: Final = secrets.token_bytes(16)
"""The key of the digests of this process's rehearsals."""


def serve() -> None:
    """Serve the process that started this one: run the parts that it sends, until it closes standard input."""
    # Before the app is imported: its module may print.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # text that the user's code prints is no answer
    requests = sys.stdin.buffer
    try:
        app, run_part = _prepared(orjson.loads(requests.readline()))
    # As an answer: the parent prints one message, and not the traceback of another process.
    except (UsageError, PerdureError) as refused:
        _answer(answers, b"!" + orjson.dumps(str(refused)))
        return
    _answer(answers, orjson.dumps(app))
    for request in requests:
        data = orjson.loads(request)
        part = RehearsedPart(
            Image.from_json(orjson.dumps(data["image"])),
            frozenset(map(Address.parse, data["shallow"])),
            Arrivals.from_json(orjson.dumps(data["arrivals"])),
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
