"""HTML by which the pages of a grade are made: text that is escaped, tables, bars.

Pages are single files without scripts, readable in light and dark, on a phone and on paper, by
keyboard and by screen readers. Whatever a student wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..exercise import escape

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #f4f5f7;
  --line: #c9ced6; --quiet: #57606a; --good: #006b4f; --bad: #9c3a00; --link: #0b57b0; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --text: #e6e8eb; --soft: #20252b;
  --line: #434b55; --quiet: #a8b1bc; --good: #43d3a6; --bad: #ffa06b; --link: #8ab8ff; } }
body { font: 1rem/1.55 system-ui, sans-serif; background: var(--back); color: var(--text);
  max-width: 48rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
body.class { max-width: 72rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 0 0 .2rem; }
p { margin: .4rem 0; } ul { margin: .3rem 0; padding-left: 1.3rem; }
a { color: var(--link); } code { font-size: .92em; }
.total { font-size: 1.25rem; font-weight: 600; } .quiet { color: var(--quiet); }
.card { border: 1px solid var(--line); border-left: 5px solid var(--quiet); border-radius: 4px;
  padding: .8rem 1rem; margin: .9rem 0; }
.card.correct { border-left-color: var(--good); } .card.wrong { border-left-color: var(--bad); }
.verdict { margin-top: 0; } .lead { margin-top: .7rem; color: var(--quiet); font-size: .92rem; }
.correct .verdict b, b.correct { color: var(--good); }
.wrong .verdict b, b.wrong { color: var(--bad); }
.told { background: var(--soft); border-radius: 4px; padding: .5rem .8rem;
  overflow-wrap: anywhere; white-space: pre-line; }
.track { position: relative; height: .8rem; background: var(--soft); border-radius: 2px;
  margin: .25rem 0 .7rem; box-shadow: inset 0 0 0 1px var(--line); max-width: 34rem; }
.track i { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 2px;
  background: var(--good); }
.track.over i { background: var(--bad); }
.track.plain i { background: var(--quiet); }
.track s { position: absolute; top: -.25rem; bottom: -.25rem; width: 2px;
  background: var(--text); }
.wide { overflow-x: auto; position: relative; }
table { border-collapse: collapse; margin: .4rem 0; font-size: .95rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: .2rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .9rem .3rem 0; text-align: left;
  vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.name { min-width: 7rem; overflow-wrap: anywhere; }
td.text { min-width: 16rem; overflow-wrap: anywhere; }
td.mark, th.mark { text-align: center; padding-right: .6rem; padding-left: .3rem; }
td .track { width: 7rem; margin: .35rem 0; }
.pair { display: grid; gap: 0 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
.pair > div { min-width: 0; }
pre { background: var(--soft); border-radius: 4px; padding: .5rem .8rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.4; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
@media print { .card { break-inside: avoid; } }
"""


def number(value: float) -> str:
    """Return points without needless decimals."""
    return f"{value:g}"


def page(title: str, body: Sequence[str], style: str = "") -> str:
    """Return a whole page; ``style`` is its class."""
    attribute = f' class="{style}"' if style else ""
    text = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Without it a browser asks a server for a picture.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body{attribute}>\n<main>\n{text}\n</main>\n</body>\n</html>\n"
    )


class Html(str):
    """HTML that is not escaped again."""


def _cell(cell: object, kind: str, style: str = "") -> str:
    scope = ' scope="col"' if kind == "th" else ""
    style = f' class="{style}"' if style else ""
    return f"<{kind}{scope}{style}>{cell if isinstance(cell, Html) else escape(cell)}</{kind}>"


def table(
    caption: str,
    head: Sequence[object],
    rows: Sequence[Sequence[object]],
    styles: Mapping[int, str] | None = None,
) -> str:
    """Return a table; ``styles`` has the class of a column by its place."""
    styles = styles or {}

    def row(cells: Sequence[object], kind: str) -> str:
        made = (_cell(cell, kind, styles.get(place, "")) for place, cell in enumerate(cells))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    name = escape(caption)
    # Whoever has no mouse can scroll it sideways once it has the focus.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table><caption>{name}</caption>\n<thead>{row(head, 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def track(value: float, top: float, limit: float | None = None, plain: bool = False) -> Html:
    """Draw a bar, and a line where the limit is. What it shows stands beside it in words.

    A plain one is neither good nor bad.
    """

    def percent(of: float) -> str:
        return f"{100 * min(max(of / top, 0), 1) if top > 0 else 0:.1f}%"

    over = " over" if limit is not None and value > limit else " plain" if plain else ""
    line = "" if limit is None else f'<s style="left:{percent(limit)}"></s>'
    return Html(
        f'<div class="track{over}" aria-hidden="true"><i style="width:{percent(value)}"></i>'
        f"{line}</div>"
    )
