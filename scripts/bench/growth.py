"""Growth curves drawn as SVG: one panel a curve, both axes logarithmic, readable on light and on dark pages."""

import math
from xml.etree import ElementTree
from xml.sax.saxutils import escape

PANEL, HEIGHT = 430, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 76, 54
CONTESTANTS = {"blobferry": "ours", "rclone": "theirs"}
# A background of its own: a page may be dark in a browser that asks for light, and the other way round.
LIGHT = {"back": "#ffffff", "text": "#1f2328", "soft": "#59636e", "grid": "#d8dee4", "ours": "#0969da", "theirs": "#bc4c00"}
DARK = {"back": "#0d1117", "text": "#e6edf3", "soft": "#9198a1", "grid": "#30363d", "ours": "#58a6ff", "theirs": "#f0883e"}
# Colours are spelled out in each, since not every viewer of SVG knows variables.
COLOURS = """.back {{ fill: {back}; }} text {{ fill: {text}; }} .soft, .tick {{ fill: {soft}; }} .grid {{ stroke: {grid}; }}
.ours .line, .ours .span {{ stroke: {ours}; }} .ours .mark, .ours .value {{ fill: {ours}; }}
.theirs .line, .theirs .span {{ stroke: {theirs}; }} .theirs .mark, .theirs .value {{ fill: {theirs}; }}"""
STYLE = f"""
text {{ font: 12px system-ui, "DejaVu Sans", sans-serif; }}
.title {{ font-size: 13px; font-weight: 600; }}
.tick, .value {{ font-size: 11px; }}
.line {{ fill: none; stroke-width: 2; }}
.theirs .line {{ stroke-dasharray: 6 4; }}
.span {{ stroke-width: 1.5; }}
{COLOURS.format(**LIGHT)}
@media (prefers-color-scheme: dark) {{
{COLOURS.format(**DARK)}
}}
"""


def picture(curves):
    """The SVG of `curves`, as report.curves() makes them. Its XML is checked before it is given back."""
    width = PANEL * len(curves)
    summary = "; ".join(f"{name}, {point['x']:,} {curve['x']}: {seconds(point['wall'])} s"
                        for curve in curves for name, points in curve["series"].items() for point in points if point["wall"] is not None)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" role="img" '
             'aria-labelledby="title summary">',
             '<title id="title">Wall time of blobferry and rclone</title>', f'<desc id="summary">{escape(summary)}</desc>',
             f"<style>{escape(STYLE)}</style>", f'<rect class="back" width="{width}" height="{HEIGHT}"/>', *_legend()]
    for number, curve in enumerate(curves):
        parts += [f'<g transform="translate({number * PANEL} 0)">', *_panel(curve), "</g>"]
    text = "\n".join([*parts, "</svg>"]) + "\n"
    ElementTree.fromstring(text)
    return text


def seconds(value):
    """Three figures at most."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _legend():
    for number, (name, group) in enumerate(CONTESTANTS.items()):
        x = LEFT + 110 * number
        yield f'<g class="{group}"><line class="line" x1="{x}" y1="20" x2="{x + 34}" y2="20"/>{_mark(group, x + 17, 20)}</g>'
        yield f'<text x="{x + 41}" y="24">{name}</text>'
    yield f'<text class="soft" x="{LEFT + 220}" y="24">median; bars: all rounds</text>'


def _panel(curve):
    """One curve, at the left edge."""
    drawn = {name: [point for point in points if point["wall"] is not None] for name, points in curve["series"].items()}
    points = [point for series in drawn.values() for point in series]
    yield f'<text class="title" x="{LEFT}" y="54">{escape(curve["title"])}</text>'
    if not points:
        yield f'<text class="soft" x="{LEFT}" y="{HEIGHT // 2}">no run arrived whole</text>'
        return
    columns = sorted({point["x"] for series in curve["series"].values() for point in series})
    low, high = _steps(min(point["least"] for point in points), max(point["most"] for point in points))
    across = _scale(columns[0], columns[-1], LEFT + 22, PANEL - RIGHT - 22)
    up = _scale(low, high, HEIGHT - BOTTOM, TOP)
    yield from _axes(curve, columns, _ticks(low, high), across, up)
    for name, series in drawn.items():
        yield f'<g class="{CONTESTANTS[name]}">'
        places = [(across(point["x"]), up(point["wall"])) for point in series]
        # A point that nobody reached breaks the line.
        reached = [None, *(columns.index(point["x"]) for point in series)]
        strokes = (f"{'L' if before is not None and before + 1 == here else 'M'}{x:.1f} {y:.1f}" for before, here, (x, y) in zip(reached, reached[1:], places))
        yield f'<path class="line" d="{" ".join(strokes)}"/>'
        for point, (x, y) in zip(series, places):
            yield f'<line class="span" x1="{x:.1f}" y1="{up(point["least"]):.1f}" x2="{x:.1f}" y2="{up(point["most"]):.1f}"/>'
            yield _mark(CONTESTANTS[name], x, y)
            above = all(point["wall"] >= other["wall"] for rest in drawn.values() for other in rest if other["x"] == point["x"])
            at = up(point["most"]) - 9 if above else up(point["least"]) + 18
            yield f'<text class="value" x="{x:.1f}" y="{at:.1f}" text-anchor="middle">{seconds(point["wall"])}</text>'
        yield "</g>"


def _axes(curve, columns, ticks, across, up):
    left, right, bottom = LEFT, PANEL - RIGHT, HEIGHT - BOTTOM
    for value in ticks:
        y = up(value)
        yield f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>'
    for value in columns:
        x = across(value)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom + 4}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:,}</text>'
    yield f'<text x="{(left + right) / 2:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(curve["x"])} (log)</text>'
    yield f'<text transform="translate(15 {(TOP + bottom) / 2:.1f}) rotate(-90)" text-anchor="middle">wall time, seconds (log)</text>'


def _mark(group, x, y):
    """A shape each: colours are not all that tells them apart."""
    if group == "ours":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    return f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'


def _scale(low, high, start, end):
    """From a value to its place, logarithmic."""
    if low == high:
        return lambda _value: (start + end) / 2
    return lambda value: start + (end - start) * math.log(value / low) / math.log(high / low)


def _ticks(low, high):
    """1, 2, 5, 10, 20, 50… from `low` to `high`; only powers of ten where they would stand too close."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    fine = [value for decade in decades for step in (1, 2, 5) if low <= (value := float(f"{step}e{decade}")) <= high]
    coarse = [value for value in fine if f"{value:e}".startswith("1")]
    return fine if len(fine) <= 9 or len(coarse) < 2 else coarse


def _steps(least, most):
    """The ticks around these values, with room for the figures beside the points. A wall time is never 0."""
    steps = [float(f"{step}e{decade}") for decade in range(-4, 6) for step in (1, 2, 5)]
    return max([step for step in steps if step <= least / 1.25], default=steps[0]), min([step for step in steps if step >= most * 1.25], default=steps[-1])
