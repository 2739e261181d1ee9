"""The dashboard's voice: one person's language, numbers, dates and zone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, dates, lists, numbers

from agentsight.languages import DEFAULT, LANGUAGES, LOCALES, locale_of, negotiate, translations

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING = "–"
_WHOLE = "#,##0"


@lru_cache(maxsize=4_096)
def _decimal(value: float, pattern: str, locale: Locale) -> str:
    if pattern == _WHOLE and 0 <= value < 10**9 and value == int(value) and (commas := _commas(locale)):
        return f"{int(value):,}".replace(",", commas[value >= 10_000])  # a page says hundreds of them
    return numbers.format_decimal(value, format=pattern, locale=locale)


@cache
def _commas(locale: Locale) -> tuple[str, str] | None:
    """What stands between thousands of four digits, and of more; None where they are written in another way."""
    four, more = (numbers.format_decimal(value, format=_WHOLE, locale=locale) for value in (1_234, 1_234_567))
    own = four[1:-3], more[1:-7]
    return own if (four, more) == (f"1{own[0]}234", f"1{own[1]}234{own[1]}567") else None


@dataclass(frozen=True)
class Voice:
    """Says everything a page says, in one language and one time zone."""

    locale: Locale
    zone: ZoneInfo

    @property
    def language(self) -> str:
        return str(self.locale.language)

    @property
    def tag(self) -> str:
        """For `<html lang>`."""
        return str(self.locale).replace("_", "-")

    @property
    def direction(self) -> str:
        return str(self.locale.text_direction)

    # -- words
    def say(self, text: str, **values: object) -> str:
        """`text` in this language, `{name}` filled in."""
        said = str(translations(self.language).gettext(text))
        return said.format(**values) if values else said

    def count(self, one: str, many: str, number: int, **values: object) -> str:
        """`one` or `many`, as the language wants it for `number`; `{n}` is the number, written out."""
        said = str(translations(self.language).ngettext(one, many, number))
        return said.format(n=self.number(number), **values)

    def all_of(self, words: list[str]) -> str:
        return str(lists.format_list(words, locale=self.locale))

    # -- numbers; None is no answer, never zero
    def number(self, value: float | None, digits: int = 0) -> str:
        if value is None:
            return _MISSING
        return _decimal(value or 0, "#,##0." + "0" * digits if digits else _WHOLE, self.locale)

    def short(self, value: float | None) -> str:
        """At most five characters or so: 12,240 stays, 2,039,112 is 2.0M."""
        if value is None or abs(value) < 100_000:
            return self.number(value, 0 if value is None or value == int(value) else 1)
        compact = str(numbers.format_compact_decimal(value, fraction_digits=1, locale=self.locale))
        return self.number(value) if compact.isdecimal() else compact  # not every language shortens thousands

    def percent(self, value: float | None, digits: int = 1) -> str:
        """`value` is 0 to 100."""
        if value is None:
            return _MISSING
        pattern = numbers.parse_pattern(self.locale.percent_formats[None].pattern)
        pattern.frac_prec = (digits, digits)
        return str(pattern.apply(value / 100, self.locale))

    def signed(self, value: float) -> str:
        return ("+" if value > 0 else "−" if value < 0 else "±") + self.percent(abs(value))

    def money(self, usd: float | None) -> str:
        if usd is None:
            return _MISSING
        return numbers.format_currency(
            usd, "USD", locale=self.locale, format=None if usd >= 0.1 or not usd else "¤0.0000"
        )

    def wait(self, ms: float | None) -> str:
        """A short time: 312 ms, 1.12 s, 3m 45s, 2h 05m."""
        if ms is None:
            return _MISSING
        if ms < 1_000:
            return f"{self.number(ms)} ms"
        if ms < 60_000:
            return f"{self.number(ms / 1000, 2 if ms < 10_000 else 1)} s"
        minutes, seconds = divmod(round(ms / 1000), 60)
        if minutes < 60:
            return f"{minutes}m {seconds:02d}s"
        hours, minutes = divmod(minutes, 60)
        return f"{hours}h {minutes:02d}m" if hours < 48 else self.count("{n} day", "{n} days", hours // 24)

    def size(self, size_bytes: int) -> str:
        for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
            if size_bytes >= factor:
                return f"{self.number(size_bytes / factor, 1)} {unit}"
        return f"{self.number(size_bytes)} B"

    # -- times
    def moment(self, us: int) -> datetime:
        return (_EPOCH + timedelta(microseconds=us)).astimezone(self.zone)

    def iso(self, us: int) -> str:
        return self.moment(us).isoformat(timespec="milliseconds")

    def date(self, us: int) -> str:
        return self.day(self.moment(us).date())

    def time(self, us: int, seconds: bool = False) -> str:
        return dates.format_time(self.moment(us), "medium" if seconds else "short", locale=self.locale)

    def clock(self, moment: datetime) -> str:
        return dates.format_time(moment, "short", tzinfo=moment.tzinfo, locale=self.locale)

    def when(self, us: int) -> str:
        return f"{self.date(us)}, {self.time(us)}"

    def day(self, day: dt.date) -> str:
        """20 Nov 2026."""
        return dates.format_date(day, "medium", locale=self.locale)

    def day_short(self, day: dt.date) -> str:
        """20 Nov."""
        return dates.format_skeleton("MMMd", day, locale=self.locale)

    def month(self, day: dt.date) -> str:
        return dates.format_skeleton("yMMM", day, locale=self.locale)

    def day_long(self, us: int) -> str:
        """Friday, 20 November 2026."""
        return dates.format_date(self.moment(us).date(), "full", locale=self.locale)

    def weekdays(self) -> list[str]:
        """Short names, Monday first."""
        names = self.locale.days["stand-alone"]["abbreviated"]
        return [str(names[day]) for day in range(7)]

    @property
    def zone_name(self) -> str:
        """Europe/Zagreb (UTC+01:00)."""
        offset = datetime.now(self.zone).strftime("%z")
        return f"{self.zone.key} (UTC{offset[:3]}:{offset[3:]})"

    # -- names of things that have one in every language
    def country(self, code: str | None) -> str:
        return str(self.locale.territories.get((code or "").upper(), code or _MISSING))

    def tongue(self, code: str | None) -> str:
        """A language's name; the code itself when it is none we know."""
        try:
            name = Locale.parse((code or "").replace("-", "_")).get_display_name(self.locale)
        except (ValueError, UnknownLocaleError):
            name = None
        return name[:1].upper() + name[1:] if name else (code or _MISSING)


__all__ = ["DEFAULT", "LANGUAGES", "LOCALES", "Voice", "locale_of", "negotiate", "translations"]
