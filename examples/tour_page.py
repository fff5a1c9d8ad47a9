"""The HTML page of the tour: description, code, output, plot and cost of every step, in one file."""

import base64
import html
import io
from dataclasses import dataclass
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
pre { background: #f5f5f3; padding: .8rem; overflow-x: auto; border-radius: 4px; font-size: 14px; line-height: 1.4 }
pre.output { background: #fff; border-left: 4px solid #4a7aa7 }
table { border-collapse: collapse } td, th { padding: .15rem 1rem .15rem 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% }
"""


@dataclass(frozen=True)
class Step:
    """One executed step of the tour. `picture` is a PNG."""

    title: str
    description: str
    code: str
    output: str
    picture: bytes | None
    milliseconds: float
    megabytes: float


def write_page(title: str, introduction: str, steps: list[Step]) -> str:
    """The page as self-contained HTML."""
    contents = "\n".join(
        f'<li><a href="#{index}">{html.escape(step.title)}</a></li>' for index, step in enumerate(steps)
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>{html.escape(introduction)}</p>
<ol>
{contents}
</ol>
{"".join(_section(index, step) for index, step in enumerate(steps))}
<h2>Time and memory</h2>
<p>Wall-clock time of one call, and the growth of the peak memory of the process.</p>
<table><tr><th>step</th><th>milliseconds</th><th>MB</th></tr>
{"".join(_cost(step) for step in steps)}
</table>
</html>
"""


def _section(index: int, step: Step) -> str:
    picture = ""
    if step.picture is not None:
        data = base64.b64encode(step.picture).decode()
        picture = f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(step.title)}"></p>\n'
    return f"""<h2 id="{index}">{html.escape(step.title)}</h2>
<p>{html.escape(step.description)}</p>
<pre>{html.escape(step.code)}</pre>
<pre class="output">{html.escape(step.output)}</pre>
{picture}"""


def _cost(step: Step) -> str:
    numbers = "".join(f'<td class="number">{value:,.0f}</td>' for value in (step.milliseconds, step.megabytes))
    return f"<tr><td>{html.escape(step.title)}</td>{numbers}</tr>\n"


def bar_chart(names: list[str], values: list[float], label: str) -> bytes:
    """Horizontal bars, the first at the top, as a PNG."""
    figure, axes = _figure(8, 1 + 0.35 * len(names))
    axes.barh(range(len(names)), values, color="#4a7aa7")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return _png(figure)


def scatter_plot(points: Any, names: list[str], groups: list[str], label: str) -> bytes:
    """Points (n, 2) coloured by the ten most frequent groups, with labels at the first points, as a PNG."""
    figure, axes = _figure(9, 7)
    for group in sorted(set(groups), key=groups.count, reverse=True)[:10]:
        rows = [row for row, name in enumerate(groups) if name == group]
        axes.scatter(points[rows, 0], points[rows, 1], s=12, label=group, alpha=0.7)
    for row, name in enumerate(names):
        axes.annotate(name, points[row], fontsize=7, annotation_clip=False)
    axes.set_title(label, fontsize=10)
    axes.legend(fontsize=7, markerscale=1.5)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # pyplot would keep figures alive

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
