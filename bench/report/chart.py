"""A chart of the ratios to the floor: plain SVG, so that whoever reads the documents sees it."""

from html import escape
from math import log10

from bench.report.results import Results
from bench.targets.target import Face

_FACE: Face = "chat"
_LEFT, _WIDTH, _ROW, _GAP, _TOP = 110, 560, 17, 30, 34
_LEAST, _MOST = 0.5, 1000.0
_OURS, _THEIRS = "#b4442c", "#8a94a0"


def chart(results: Results) -> str:
    """Bars for each load over chat, on a logarithmic scale that begins below the floor."""
    drawn: list[str] = []
    y = _TOP
    for load in results.head["loads"]:
        unit = "request" if load == "plain" else "chunk"
        drawn.append(f'<text x="{_LEFT}" y="{y}" class="title">{escape(load)}: CPU per {unit}, 1 = the bare proxy</text>')
        y += 8
        for target in results.targets:
            ratio = results.ratio(target, _FACE, load)
            if ratio is not None:
                drawn += _bar(target, ratio, results.microseconds(target, _FACE, load) or 0, y)
                y += _ROW
        y += _GAP
    return _document("\n".join(drawn), height=y)


def _bar(target: str, ratio: float, microseconds: float, y: float) -> list[str]:
    color = _OURS if target.startswith("trivet") else _THEIRS
    length = _x(ratio) - _LEFT
    return [
        f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(target)}</text>',
        f'<rect x="{_LEFT}" y="{y + 1}" width="{length:.1f}" height="{_ROW - 4}" fill="{color}"/>',
        f'<text x="{_LEFT + length + 6:.1f}" y="{y + 11}">{ratio:.2f} ({microseconds:,.1f} us)</text>',
    ]


def _x(ratio: float) -> float:
    share = (log10(min(max(ratio, _LEAST), _MOST)) - log10(_LEAST)) / (log10(_MOST) - log10(_LEAST))
    return _LEFT + share * _WIDTH


def _document(drawn: str, *, height: float) -> str:
    width = _LEFT + _WIDTH + 140
    floor = (
        f'<line x1="{_x(1):.1f}" x2="{_x(1):.1f}" y1="{_TOP - 14}" y2="{height - _GAP}" stroke="#333" stroke-dasharray="3 3"/>'
    )
    style = "text { font: 11px sans-serif; fill: #222 } .title { font-weight: bold }"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{drawn}\n{floor}\n</svg>\n'
    )
