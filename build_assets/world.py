"""world.svg and world.json: one path a country, small enough for a page, with borders that do not tear.

The source is Natural Earth 10m (public domain) as the package `geo-intel-offline` carries it. Every vertex is snapped
to one grid first, so neighbours share their border's vertices; then a vertex with exactly two neighbours on the whole
map goes when its triangle is small (Visvalingam). What joins three lines always stays.
"""

from __future__ import annotations

import gzip
import heapq
import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

Point = tuple[int, int]
Ring = list[Point]

WIDTH = 2_000  # grid cells across; a page shows about half as many pixels
NORTH = 84.0
SMALLEST = 4.0  # grid cells a vertex's triangle must cover to stay
ISLAND = 5.0  # grid cells a second island must cover to be drawn

CODES = {
    "France": "FR",
    "Norway": "NO",
    "Kosovo": "XK",
    "Taiwan": "TW",
    "N. Cyprus": "CY",
    "Cyprus U.N. Buffer Zone": "CY",
    "Akrotiri": "CY",
    "Dhekelia": "CY",
    "Somaliland": "SO",
    "Baikonur": "KZ",
    "Siachen Glacier": "IN",
    "Southern Patagonian Ice Field": "AR",
    "Bir Tawil": "EG",
    "USNB Guantanamo Bay": "CU",
}  # Natural Earth has no ISO code for these

DOTS = {
    "BQ": (12.2, -68.3),
    "BV": (-54.4, 3.4),
    "CC": (-12.1, 96.9),
    "CX": (-10.5, 105.6),
    "GF": (3.9, -53.1),
    "GP": (16.3, -61.6),
    "MQ": (14.6, -61.0),
    "RE": (-21.1, 55.5),
    "SJ": (78.7, 16.0),
    "TK": (-9.2, -171.8),
    "YT": (-12.8, 45.2),
}  # codes of their own that Natural Earth draws as parts of other countries


class Shape(NamedTuple):
    path: str
    x: int
    y: int
    cells: float  # area of the largest part


def build(source: Path, svg: Path, index: Path) -> None:
    """Write the shapes to `svg` (one `<path id=ISO>` each) and where to put a dot to `index`. Same bytes every time."""
    rings = _read(source)
    shapes = _draw(rings, _simplify([ring for parts in rings.values() for ring in parts]))
    height = max(y for parts in rings.values() for ring in parts for _, y in ring) + 4
    paths = "".join(f'<path id="{code}" d="{shape.path}"/>' for code, shape in sorted(shapes.items()) if shape.path)
    box = f'viewBox="0 0 {WIDTH} {height}"'
    svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {box}><defs>{paths}</defs></svg>', encoding="utf-8")
    shapes |= {code: Shape("", *_project(*place), 0) for code, place in DOTS.items()}
    places = {code: [shape.x, shape.y, round(shape.cells)] for code, shape in sorted(shapes.items())}
    index.write_text(
        json.dumps({"width": WIDTH, "height": height, "countries": places}, separators=(",", ":")), encoding="utf-8"
    )


def _project(lat: float, lon: float) -> Point:
    """Natural Earth I, polynomial form (Šavrič et al. 2011), on the grid."""
    x, y = _plane(lat, lon)
    scale = WIDTH / (2 * _plane(0, 180)[0])
    return round(x * scale + WIDTH / 2), round((_plane(NORTH, 0)[1] - y) * scale)


def _plane(lat: float, lon: float) -> tuple[float, float]:
    p2 = math.radians(lat) ** 2
    p4 = p2 * p2
    x = math.radians(lon) * (0.8707 - 0.131979 * p2 + p4 * (-0.013791 + p4 * (0.003971 * p2 - 0.001529 * p4)))
    y = math.radians(lat) * (1.007226 + p2 * (0.015085 + p4 * (-0.044475 + 0.028874 * p2 - 0.005916 * p4)))
    return x, y


def _read(source: Path) -> dict[str, list[Ring]]:
    polygons = json.loads(gzip.decompress((source / "polygons.json.gz").read_bytes()))
    about = json.loads(gzip.decompress((source / "metadata.json.gz").read_bytes()))
    rings: dict[str, list[Ring]] = {}
    for key in sorted(polygons, key=int):
        code = CODES.get(about[key]["name"], about[key]["iso2"])
        if code == "AQ" or len(code) != 2:
            continue
        rings.setdefault(code, []).extend(_snap(outline) for outline in _outlines(polygons[key]))
    return rings


def _outlines(polygon: dict[str, Any]) -> list[list[list[float]]]:
    parts = polygon.get("exteriors") if polygon.get("multi") else None
    return parts or [polygon["exterior"]]


def _snap(outline: list[list[float]]) -> Ring:
    """The outline on the grid: no repeated points, no spikes (a-b-a)."""
    ring: Ring = []
    for lat, lon in outline:
        point = _project(lat, lon)
        if ring and ring[-1] == point:
            continue
        if len(ring) > 1 and ring[-2] == point:
            ring.pop()
        else:
            ring.append(point)
    while len(ring) > 1 and ring[0] == ring[-1]:
        ring.pop()
    return ring


def _simplify(rings: list[Ring]) -> set[Point]:
    """The vertices that may go, whole map at once."""
    near: dict[Point, set[Point]] = {}
    for ring in rings:
        for before, point in zip(ring[-1:] + ring[:-1], ring, strict=True):
            if before != point:
                near.setdefault(point, set()).add(before)
                near.setdefault(before, set()).add(point)
    heap = [(_triangle(point, beside), point) for point, beside in near.items() if len(beside) == 2]
    heapq.heapify(heap)
    gone: set[Point] = set()
    while heap and heap[0][0] <= SMALLEST:
        cells, point = heapq.heappop(heap)
        beside = near[point]
        if point in gone or len(beside) != 2 or _triangle(point, beside) > cells:
            continue
        one, two = sorted(beside)
        if two in near[one]:
            continue  # the last triangle of an island
        gone.add(point)
        for end, other in ((one, two), (two, one)):
            near[end].discard(point)
            near[end].add(other)
            if len(near[end]) == 2:
                heapq.heappush(heap, (max(cells, _triangle(end, near[end])), end))
    return gone


def _triangle(point: Point, beside: set[Point]) -> float:
    (ax, ay), (cx, cy) = sorted(beside)
    bx, by = point
    return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2


def _draw(rings: dict[str, list[Ring]], gone: set[Point]) -> dict[str, Shape]:
    shapes = {}
    for code, parts in rings.items():
        kept = [[point for point in ring if point not in gone] for ring in parts]
        kept = sorted((ring for ring in kept if len(ring) > 2), key=lambda ring: -abs(_area(ring)))
        drawn = [ring for rank, ring in enumerate(kept) if rank == 0 or abs(_area(ring)) >= ISLAND]
        home = drawn[0] if drawn else max(parts, key=len)
        x, y = _middle(home)
        shapes[code] = Shape("".join(map(_path, drawn)), x, y, abs(_area(home)))
    return shapes


def _area(ring: Ring) -> float:
    return sum(ring[i - 1][0] * ring[i][1] - ring[i][0] * ring[i - 1][1] for i in range(len(ring))) / 2


def _middle(ring: Ring) -> Point:
    area = _area(ring)
    if abs(area) < 1:
        return ring[0]
    x = y = 0
    for (ax, ay), (bx, by) in zip(ring[-1:] + ring[:-1], ring, strict=True):
        cross = ax * by - bx * ay
        x, y = x + (ax + bx) * cross, y + (ay + by) * cross
    return round(x / (6 * area)), round(y / (6 * area))


def _path(ring: Ring) -> str:
    steps = "".join(f"{_signed(bx - ax)}{_signed(by - ay)}" for (ax, ay), (bx, by) in itertools.pairwise(ring))
    return f"M{ring[0][0]} {ring[0][1]}l{steps.lstrip()}z"


def _signed(step: int) -> str:
    return f"{step}" if step < 0 else f" {step}"
