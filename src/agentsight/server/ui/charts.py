"""Charts as markup: SVG with sizes in attributes and colours in classes; the numbers stand in a table too.

No chart needs a script. A script reads its tooltip from the table under a time series: the numbers are said once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from markupsafe import Markup, escape

from .assets import STATIC, asset_url
from .words import Voice

LEVELS = 9
_WIDTH, _HEIGHT = 1000, 100
_STEPS = 4  # of an axis, about
_SPARK_POINTS = 40
_MOST_LABELS = 7
_SMALLEST_CELLS = 22  # a country smaller than this on the map's grid gets a dot, or nobody could hit it

Number = float | None


def html(template: str, **values: object) -> Markup:
    """`template` with every value escaped, unless it is markup already; a page has a thousand of them."""
    return Markup(template.format(**{name: escape(value) for name, value in values.items()}))


@dataclass(frozen=True, slots=True)
class Series:
    """One line. `css`: its colour, such as c1, good or bad; `before`: the dashed line of the period compared with."""

    name: str
    values: Sequence[Number]
    css: str = "c1"
    before: bool = False
    whens: Sequence[str] = ()  # of a line before: its own dates


@dataclass(frozen=True, slots=True)
class Part:
    """One bar, slice, country or row: what it is called, how much, and where it leads."""

    name: str
    value: float
    href: str = ""
    key: str = ""


# -- over time -------------------------------------------------------------------------------------------------------
def timeseries(
    voice: Voice,
    caption: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    says: Callable[[Number], str],
    hrefs: Sequence[str] = (),
    partial: bool = False,
    marks: Mapping[int, str] | None = None,
) -> Markup:
    """Lines over time, their axis, and the table behind them. `partial`: the last point is not over yet."""
    if not any(value for line in series for value in line.values):
        return html('<p class="blank">{nothing}</p>', nothing=voice.say("Nothing in this period."))
    top, ticks = scale(max((value or 0 for line in series for value in line.values), default=0))
    grid = [_rule(_HEIGHT - _HEIGHT * tick / top) for tick in ticks[1:]]
    lines = [_line(line, top, partial and not line.before) for line in reversed(series)]
    grid += [_mark(at, len(labels), said) for at, said in (marks or {}).items()]
    shown = _spread(len(labels))
    return html(
        '<div class="ts" tabindex="0" role="img" aria-label="{caption}. {hint}">'
        '<div class="ts-y" aria-hidden="true">{ticks}</div>'
        '<div class="ts-p"><svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">{marks}</svg>'
        '<i class="cross" hidden></i></div>'
        '<div class="ts-x" aria-hidden="true">{labels}</div></div>{table}',
        caption=caption,
        hint=voice.say("The arrow keys read the values."),
        ticks=Markup("").join(html("<span>{tick}</span>", tick=says(tick)) for tick in reversed(ticks)),
        marks=Markup("").join([*grid, *lines]),
        labels=Markup("").join(html("<span>{label}</span>", label=labels[place]) for place in shown),
        table=_table(voice, caption, labels, series, says, hrefs),
    )


def scale(most: float) -> tuple[float, list[float]]:
    """The top of an axis that holds `most`, and its ticks: round numbers.

    >>> scale(87)
    (100.0, [0.0, 25.0, 50.0, 75.0, 100.0])
    """
    if most <= 0:
        return 1.0, [0.0, 1.0]
    power: float = 10.0 ** math.floor(math.log10(most / _STEPS))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice * _STEPS >= most * 0.9999)
    if most >= _STEPS and step % 1:
        step = float(math.ceil(step))
    count = math.ceil(most / step - 1e-9)
    return step * count, [step * place for place in range(count + 1)]


def _mark(at: int, count: int, said: str) -> Markup:
    """An upright line where something changed."""
    x = f"{round(at * _WIDTH / max(1, count - 1), 1):g}"
    return html(
        '<g class="mark-at" data-tip="{said}"><line class="wide" x1="{x}" x2="{x}" y1="0" y2="100"/>'
        '<line x1="{x}" x2="{x}" y1="0" y2="100"/></g>',
        x=x,
        said=said,
    )


def _rule(y: float) -> Markup:
    return html('<line class="rule" x1="0" x2="1000" y1="{y}" y2="{y}"/>', y=f"{y:g}")


def _line(line: Series, top: float, partial: bool) -> Markup:
    """The line and the area under it, broken where there is no value."""
    width = max(1, len(line.values) - 1)
    places = [
        None if value is None else (round(place * _WIDTH / width, 1), round(_HEIGHT - _HEIGHT * value / top, 2))
        for place, value in enumerate(line.values)
    ]
    drawn: list[Markup] = []
    solid, tail = (places[:-1], places[-2:]) if partial and len(places) > 1 else (places, [])
    for run in _runs(solid):
        path = _path(run)
        if not line.before:
            area = f"{path}L{run[-1][0]:g} {_HEIGHT}L{run[0][0]:g} {_HEIGHT}Z"
            drawn.append(html('<path class="area {css}" d="{d}"/>', css=line.css, d=area))
        drawn.append(html('<path class="line {css}{old}" d="{d}"/>', css=line.css, old=" before" * line.before, d=path))
    drawn += [html('<path class="line {css} open" d="{d}"/>', css=line.css, d=_path(run)) for run in _runs(tail)]
    return Markup("").join(drawn)


def _runs(places: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if place is None:
            runs.append([])
        else:
            runs[-1].append(place)
    return [run if len(run) > 1 else [run[0], (run[0][0] + 0.1, run[0][1])] for run in runs if run]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _spread(count: int) -> list[int]:
    """Which labels to write: the first, the last, and some between, evenly."""
    if count <= _MOST_LABELS:
        return list(range(count))
    return [round(place * (count - 1) / (_MOST_LABELS - 1)) for place in range(_MOST_LABELS)]


def _table(
    voice: Voice,
    caption: str,
    labels: Sequence[str],
    series: Sequence[Series],
    says: Callable[[Number], str],
    hrefs: Sequence[str],
) -> Markup:
    heads = [
        html(
            '<th scope="col" class="n" data-css="{css}">{name}</th>',
            css=line.css + " before" * line.before,
            name=line.name,
        )
        for line in series
    ]
    rows = []
    for place, label in enumerate(labels):
        leads = hrefs[place] if hrefs else ""
        name = html('<a href="{href}">{label}</a>', href=leads, label=label) if leads else escape(label)
        cells = [_cell(line, place, says) for line in series]
        rows.append(html('<tr><th scope="row">{name}</th>{cells}</tr>', name=name, cells=Markup("").join(cells)))
    return html(
        '<details class="data"><summary>{view}</summary><div class="scroll" tabindex="0"><table class="tbl">'
        '<caption class="vh">{caption}</caption><thead><tr><th scope="col">{when}</th>{heads}</tr></thead>'
        "<tbody>{rows}</tbody></table></div></details>",
        view=voice.say("View data"),
        caption=caption,
        when=voice.say("Date"),
        heads=Markup("").join(heads),
        rows=Markup("").join(rows),
    )


def _cell(line: Series, place: int, says: Callable[[Number], str]) -> Markup:
    when = line.whens[place] if place < len(line.whens) else ""
    dated = html(' data-when="{when}"', when=when) if when else ""
    return html('<td class="n"{dated}>{value}</td>', dated=dated, value=says(line.values[place]))


def spark(values: Sequence[Number]) -> Markup:
    """A small line without numbers: only whether it rises."""
    known = [value or 0 for value in values]
    if len(known) > _SPARK_POINTS:
        edges = [round(place * len(known) / _SPARK_POINTS) for place in range(_SPARK_POINTS + 1)]
        known = [sum(known[start:end]) / (end - start) for start, end in pairwise(edges)]
    if len(known) < 2:
        return Markup("")
    low, high = min(known), max(known)
    width, span = len(known) - 1, (high - low) or 1
    path = _path(
        [(round(place * 100 / width, 1), round(27 - 24 * (value - low) / span, 1)) for place, value in enumerate(known)]
    )
    return html(
        '<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="area c1" d="{line}L100 30L0 30Z"/><path class="line c1" d="{line}"/></svg>',
        line=path,
    )


# -- by weekday and hour ---------------------------------------------------------------------------------------------
def heatmap(
    voice: Voice,
    caption: str,
    unit: str,
    rows: Sequence[Sequence[float]],
    href: Callable[[int, int], str],
) -> Markup:
    """Seven rows of 24 cells, Monday first. A screen reader and forced colours get the numbers."""
    most = max((max(row) for row in rows), default=0)
    heads = Markup("").join(html('<th scope="col"><span>{hour}</span></th>', hour=hour) for hour in range(24))
    body = []
    for day, (name, row) in enumerate(zip(voice.weekdays(), rows, strict=True)):
        cells = []
        for hour, value in enumerate(row):
            said = escape(voice.number(value))
            link = href(day, hour) if value else ""
            inner = html('<a href="{link}" tabindex="-1">{said}</a>', link=link, said=said) if link else said
            cells.append(html('<td class="h{level}">{inner}</td>', level=level(value, most), inner=inner))
        body.append(html('<tr><th scope="row">{name}</th>{cells}</tr>', name=name, cells=Markup("").join(cells)))
    return html(
        '<table class="heat" role="grid" aria-label="{caption}" data-unit="{unit}"><thead><tr><td></td>{heads}</tr>'
        "</thead><tbody>{body}</tbody></table>{legend}",
        caption=caption,
        unit=unit,
        heads=heads,
        body=Markup("").join(body),
        legend=legend(voice.say("Less"), voice.say("More"), 0),
    )


def level(value: float, most: float, root: bool = False) -> int:
    """0 for nothing, else 1 to 9; `root` draws few and many closer together."""
    if not value or most <= 0:
        return 0
    share = math.sqrt(value / most) if root else value / most
    return 1 + min(LEVELS - 1, int(LEVELS * share * 0.9999))


def legend(low: str, high: str, first: int = 1) -> Markup:
    steps = Markup("").join(html('<i class="h{n}"></i>', n=number) for number in range(first, LEVELS + 1))
    return html(
        '<div class="scale" aria-hidden="true"><span>{low}</span>{steps}<span>{high}</span></div>',
        low=low,
        steps=steps,
        high=high,
    )


# -- by place --------------------------------------------------------------------------------------------------------
@cache
def _world() -> dict[str, Any]:
    """Where each country is; without the file the map is left out and the list beside it says it all."""
    try:
        found: dict[str, Any] = json.loads((STATIC / "world.json").read_text(encoding="utf-8"))
        return found
    except OSError:
        return {"width": 0, "height": 0, "countries": {}}


@cache
def world_shapes() -> Markup:
    """The shapes themselves, for a page in a sandboxed frame, which may not load them from beside it."""
    try:
        text = (STATIC / "world.svg").read_text(encoding="utf-8")
    except OSError:
        return Markup("")
    return Markup(text[text.index("<defs>") : text.index("</svg>")])


def worldmap(voice: Voice, caption: str, unit: str, parts: Sequence[Part], inline: bool) -> Markup:
    """Countries coloured by value, small ones as dots; each with a value leads to its conversations."""
    world = _world()
    if not world["width"]:
        return Markup("")
    by_code = {part.key: part for part in parts}
    most = max((part.value for part in parts), default=0)
    source = "" if inline else asset_url("world.svg")
    shapes: list[Markup] = []
    dots: list[Markup] = []
    for code, (x, y, cells) in world["countries"].items():
        part = by_code.get(code)
        css = f"m{level(part.value, most, root=True) if part else 0}"
        drawn = (
            html('<use href="{source}#{code}" class="{css}"/>', source=source, code=code, css=css)
            if cells
            else Markup("")
        )
        if part is None:
            shapes.append(drawn)
            continue
        dot = (
            html('<circle cx="{x}" cy="{y}" r="9" class="{css}"/>', x=x, y=y, css=css)
            if cells < _SMALLEST_CELLS
            else ""
        )
        place = html(
            '<a{href} data-tip="{name}|{value}|{unit}" aria-label="{name}: {value}">{drawn}{dot}</a>',
            href=html(' href="{href}" tabindex="-1"', href=part.href) if part.href else html(' role="img"'),
            name=part.name,
            value=voice.number(part.value),
            unit=unit,
            drawn=drawn,
            dot=dot,
        )
        (dots if dot else shapes).append(place)
    return html(
        '<svg class="map" viewBox="120 0 {width} {height}" role="group" aria-label="{caption}">'
        "{inline}{shapes}{dots}</svg>",
        width=world["width"] - 190,
        height=world["height"],
        caption=caption,
        inline=world_shapes() if inline else "",
        shapes=Markup("").join(shapes),
        dots=Markup("").join(dots),
    )


# -- shares ----------------------------------------------------------------------------------------------------------
def donut(voice: Voice, caption: str, parts: Sequence[Part]) -> Markup:
    """A ring of shares; its list of words and numbers stands beside it."""
    total = sum(part.value for part in parts) or 1
    turned = 0.0
    arcs = []
    for number, part in enumerate(parts, 1):
        share = 100 * part.value / total
        arcs.append(
            html(
                '<circle class="c{n}" cx="20" cy="20" r="15.9155" pathLength="100" stroke-dasharray="{dash} 100" '
                'stroke-dashoffset="{turned}" data-tip="{name}|{value}|{share}"/>',
                n=number,
                dash=f"{max(0.1, share - (0.8 if len(parts) > 1 else 0)):.2f}",
                turned=f"{-turned:.2f}",
                name=part.name,
                value=voice.number(part.value),
                share=voice.percent(share),
            )
        )
        turned += share
    return html(
        '<svg class="donut" viewBox="0 0 40 40" role="img" aria-label="{caption}">'
        '<g transform="rotate(-90 20 20)">{arcs}</g></svg>',
        caption=caption,
        arcs=Markup("").join(arcs),
    )


def bar(percent: float, css: str = "") -> Markup:
    """A bar filled to `percent`; never quite empty, so that little is not nothing."""
    return html(
        '<svg class="bar {css}" aria-hidden="true"><rect width="100%" height="100%" rx="3"/>'
        '<rect width="{percent}%" height="100%" rx="3"/></svg>',
        css=css,
        percent=f"{min(100, max(0.8, percent)):.1f}",
    )
