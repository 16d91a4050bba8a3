"""The five fields of a cron line and the wall times that they match."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from cronsim import CronSim, CronSimError

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen

MAX_LINE_CHARACTERS = 200
_FIELDS = 5
_SECOND = timedelta(seconds=1)
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_SHAPE = "five fields, minute hour day-of-month month day-of-week, such as '0 9 * * 1-5'"


@frozen
class CronLine:
    """A cron line, parsed by the rules of Debian's cron. It knows the calendar but no time zones.

    Attributes:
        text: its five fields, in upper case, with one space between them.
    """

    text: str

    @classmethod
    def read(cls, text: object) -> CronLine:
        """Parse a cron line.

        Raises:
            DefinitionError: the line does not have five fields, a field is not valid, or the line never matches a day.
        """
        if not isinstance(text, str) or len(text) > MAX_LINE_CHARACTERS:
            raise DefinitionError("cron line", text, f"{_SHAPE}, of at most {MAX_LINE_CHARACTERS} characters")
        fields = text.upper().split()
        if len(fields) != _FIELDS:
            raise DefinitionError("cron line", text, f"{_SHAPE}; these are {len(fields)} fields")
        line = cls(" ".join(fields))
        line._check(text)
        return line

    @property
    def runs_in_repeated_hours(self) -> bool:
        """Whether the minute or hour starts with a star; such a line follows real time, as in Debian's cron."""
        minute, hour, *_ = self.text.split()
        return minute.startswith("*") or hour.startswith("*")

    def minutes(self) -> tuple[int, ...]:
        """Return the minutes of a day that the line matches, from 0 to 1,439, in rising order."""
        minute, hour, *_ = self.text.split()
        whole_day = CronSim(f"{minute} {hour} * * *", _ANY_DAY - _SECOND)
        found: list[int] = []
        for moment in whole_day:
            if moment.date() != _ANY_DAY.date():
                break
            found.append(moment.hour * 60 + moment.minute)
        return tuple(found)

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the matching days from ``first`` on, until no day matches for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight(first) - _SECOND))

    def days_back_from(self, last: date) -> Iterator[date]:
        """Yield the matching days from ``last`` backwards, until no day matches for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight(last) + _SECOND, reverse=True))

    def _day_line(self) -> str:
        _, _, *days = self.text.split()
        return " ".join(("0", "0", *days))

    def _check(self, text: str) -> None:
        try:
            CronSim(self.text, _ANY_DAY)
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise DefinitionError("cron line", text, f"{_SHAPE}; its {field} is not valid") from error
        if next(self.days_from(_ANY_DAY.date()), None) is None:
            raise DefinitionError("cron line", text, "a line that some day of the calendar matches")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
