"""Draws a step with Bokeh: what each processor ran when, and how long the mini-batches took."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskpar.errors import UsageError
from daskpar.paths import process_name
from daskpar.printable import printable
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pandas as pd

    from daskpar.reports.run_tables import RunTables, StepTables

MOST_BARS = 4000
"""Bars of the timeline; tries of one outcome that follow each other are joined where there are more."""
NAMED = 3
"""Mini-batches that are named as the slowest."""
BINS = 40
COLOURS = {"succeeded": "#2da44e", "empty": "#8c959f", "failed": "#e5534b"}
HEIGHT = 640
TOOLS = "xpan,xwheel_zoom,box_zoom,reset,save"

Bars = dict[str, Sequence[Any]]
"""A column of values for each fact of some bars."""


@frozen
class RunPlot:
    """A drawn step: a notebook shows it by itself."""

    figure: Any
    """A layout of Bokeh, to be changed or put into other pages."""
    title: str

    def html(self) -> str:
        """A page that stands alone, scripts included; it needs no network."""
        from bokeh.embed import file_html
        from bokeh.resources import INLINE

        page: str = file_html(self.figure, INLINE, title=self.title)
        return page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file; its path."""
        target = Path(path)
        target.write_text(self.html(), encoding="utf-8")
        return target

    def show(self) -> Path:
        """Open the page in a browser; the path of its file."""
        folder = Path(tempfile.mkdtemp(prefix="daskpar-plot-"))
        target = self.save(folder / "plot.html")
        webbrowser.open(target.as_uri())
        return target

    def _repr_html_(self) -> str:
        # In a frame of its own: nothing else has to be loaded, now or when the notebook is opened again.
        style = "border:none;background:white"
        page = escape(self.html(), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT + 30}" style="{style}"></iframe>'

    def __repr__(self) -> str:
        return f"<RunPlot {self.title}: .show(), .save(FILE) or .figure>"


def plot_of(tables: RunTables, name: str | None) -> RunPlot:
    """The plot of a step, or of the first one with mini-batches. UsageError where there is none."""
    steps = [step for step in tables.steps if step.parallel and name in (None, step.name)]
    tried = [step for step in steps if step.outcomes.tries.any()]
    if not tried:
        what = f"The step {name}" if name else f"The run {tables.path}"
        raise UsageError(f"{what} has no mini-batch that was tried, so there is nothing to draw.")
    return _plot(tried[0], tables.path.name)


def _plot(step: StepTables, run: str) -> RunPlot:
    from bokeh.layouts import column

    title = printable(f"{run}, step {step.name}")
    return RunPlot(
        column(_timeline(step, title), _run_times(step), sizing_mode="stretch_width"),
        title,
    )


def _timeline(step: StepTables, title: str) -> Any:
    """A lane for each processor, a bar for each try."""
    from bokeh.models import ColumnDataSource, FactorRange, HoverTool, NumeralTickFormatter
    from bokeh.plotting import figure

    bars = lanes_of(step.tries())
    lanes = sorted(set(bars["lane"]), reverse=True)
    height = min(max(120, 22 * len(lanes) + 90), HEIGHT // 2)
    drawn = figure(
        title=title, y_range=FactorRange(factors=lanes), height=height, sizing_mode="stretch_width",
        x_axis_label="seconds", tools=TOOLS,
    )  # fmt: skip
    bars["name"] = [printable(name) for name in _names(step, bars)]
    bars["colour"] = [COLOURS.get(outcome, "#c69026") for outcome in bars["outcome"]]
    drawn.hbar(
        y="lane", left="left", right="right", height=0.7, color="colour", line_color="white", line_width=0.3,
        source=ColumnDataSource(dict(bars)),
    )  # fmt: skip
    drawn.add_tools(
        HoverTool(tooltips=[("", "@name"), ("", "@outcome @reason"), ("seconds", "@seconds{0.000}")])
    )
    drawn.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    drawn.ygrid.visible = False
    return drawn


def lanes_of(tries: pd.DataFrame) -> Bars:
    """The bars of a timeline: lane, ends in seconds from the first start, outcome, mini-batches."""
    there = tries[tries["started"].notna() & tries["processor"].notna()]
    start = there["started"].astype("int64").to_numpy() / 1e6
    begin = start - (start.min() if len(start) else 0.0)
    taken = (there["seconds_loading"] + there["seconds_running"].fillna(0.0)).to_numpy()
    node, processor = (there[name].to_numpy(np.int64) for name in ("node", "processor"))
    outcome, reason = (
        there["outcome"].astype(str).to_numpy(),
        there["reason"].astype(object).fillna("").to_numpy(),
    )
    order = np.lexsort((begin, processor, node))
    node, processor, begin, taken = node[order], processor[order], begin[order], taken[order]
    outcome, reason, index = outcome[order], reason[order], there["index"].to_numpy()[order]
    end, number = begin + taken, np.ones(len(order), np.int64)
    if len(order) > MOST_BARS:
        # Neighbours of one lane and outcome become one bar where what lies between them can't be seen.
        width = float(end.max()) / MOST_BARS
        slot = (begin / width).astype(np.int64)
        same = (node[1:] == node[:-1]) & (processor[1:] == processor[:-1]) & (outcome[1:] == outcome[:-1])
        near = same & (slot[1:] // 8 == slot[:-1] // 8)
        firsts = np.concatenate(([0], np.flatnonzero(~near) + 1))
        number = np.diff(np.concatenate((firsts, [len(order)])))
        end = np.maximum.reduceat(end, firsts)
        node, processor, begin, outcome, reason, index = (
            values[firsts] for values in (node, processor, begin, outcome, reason, index)
        )
    return {
        "lane": [f"{n}/{process_name(p)}" for n, p in zip(node.tolist(), processor.tolist(), strict=True)],
        "left": begin.tolist(),
        "right": end.tolist(),
        "seconds": (end - begin).tolist(),
        "outcome": outcome.tolist(),
        "reason": reason.tolist(),
        "index": index.tolist(),
        "number": number.tolist(),
    }


def _names(step: StepTables, bars: Bars) -> list[str]:
    found = step.parts(bars["index"]).names
    names = [found] * len(bars["index"]) if isinstance(found, str) else found
    return [
        name if number == 1 else f"{number} mini-batches from {name} on"
        for name, number in zip(names, bars["number"], strict=True)
    ]


def _run_times(step: StepTables) -> Any:
    """How long the last tries took, loading included, and below it the slowest by name."""
    from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, NumeralTickFormatter
    from bokeh.models.annotations import Title
    from bokeh.plotting import figure

    frame = step.mini_batches()
    seconds = (frame["seconds_loading"].fillna(0.0) + frame["seconds_running"].fillna(0.0))[
        frame["tries"] > 0
    ]
    counts, edges = np.histogram(seconds, bins=BINS, range=(0.0, max(float(seconds.max()), 1e-6)))
    drawn = figure(
        title="Seconds of a mini-batch, loading included", height=HEIGHT // 2, sizing_mode="stretch_width",
        x_axis_label="seconds", y_axis_label="mini-batches", y_range=DataRange1d(start=0), tools=TOOLS,
    )  # fmt: skip
    source = ColumnDataSource({"top": counts, "left": edges[:-1], "right": edges[1:]})
    drawn.quad(
        top="top", bottom=0, left="left", right="right", color="#4c8bd6", line_color="white", source=source
    )
    drawn.yaxis.formatter = NumeralTickFormatter(format="0,0")
    drawn.add_tools(
        HoverTool(tooltips=[("mini-batches", "@top"), ("seconds", "@left{0.000} – @right{0.000}")])
    )
    for rank, place in enumerate(seconds.nlargest(NAMED).index.tolist(), 1):
        line = f"slowest {rank}: {frame['name'][place]}, {seconds[place]:.3f} s"
        drawn.add_layout(
            Title(text=printable(line)[:150], text_font_style="normal", text_font_size="11px"), "below"
        )
    return drawn
