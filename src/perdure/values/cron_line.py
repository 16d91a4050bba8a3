"""The five fields of a cron line, as the wall times that they name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import attrs
from cronsim import CronSim, CronSimError

from perdure.values.errors import DefinitionError

MAX_LINE_CHARACTERS = 200
_FIELDS = 5
_SECOND = timedelta(seconds=1)
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_SHAPE = "five fields, minute hour day-of-month month day-of-week, such as '0 9 * * 1-5'"


@attrs.frozen
class CronLine:
    """A cron line, read by the rules of Debian's cron. It knows the calendar, and nothing of zones.

    Attributes:
        text: its five fields, in upper case, with one space between them.
    """

    text: str

    @classmethod
    def read(cls, text: object) -> CronLine:
        """Read a line.

        Raises:
            DefinitionError: it does not have five fields, a field is wrong, or no day ever matches it.
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
        """Whether its minute or hour starts with a star: then it follows real time, as in Debian's cron."""
        minute, hour, *_ = self.text.split()
        return minute.startswith("*") or hour.startswith("*")

    def minutes(self) -> tuple[int, ...]:
        """List the minutes of a day that it names, from 0 to 1,439, in rising order."""
        minute, hour, *_ = self.text.split()
        whole_day = CronSim(f"{minute} {hour} * * *", _ANY_DAY - _SECOND)
        found: list[int] = []
        for moment in whole_day:
            if moment.date() != _ANY_DAY.date():
                break
            found.append(moment.hour * 60 + moment.minute)
        return tuple(found)

    def days_from(self, first: date) -> Iterator[date]:
        """Go through the days that it names, from one day on. Ends where none comes for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight(first) - _SECOND))

    def days_back_from(self, last: date) -> Iterator[date]:
        """Go through the days that it names backwards, from one day on. Ends where none comes for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight(last) + _SECOND, reverse=True))

    def _day_line(self) -> str:
        _, _, *days = self.text.split()
        return " ".join(("0", "0", *days))

    def _check(self, text: str) -> None:
        try:
            CronSim(self.text, _ANY_DAY)
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise DefinitionError("cron line", text, f"{_SHAPE}; its {field} is not right") from error
        if next(self.days_from(_ANY_DAY.date()), None) is None:
            raise DefinitionError("cron line", text, "a line that some day of the calendar matches")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
