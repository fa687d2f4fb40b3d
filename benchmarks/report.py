"""Makes one table and one figure of the results."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HEAD = ("question", "bar", "must", "goal", "measured", "pass")


def table(records: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """The table as Markdown, then times and memory behind it; and whether every must was kept."""
    rows, kept = [], True
    for record in records:
        for bar in record["bars"]:
            sign = "≥" if bar["at_least"] else "≤"
            verdict = (
                "goal" if bar["reaches_goal"] else "yes" if bar["must"] is not None and bar["passes"] else ""
            )
            verdict = verdict or ("" if bar["must"] is None else "**no**")
            kept = kept and bar["passes"]
            note = f" ({bar['note']})" if bar["note"] else ""
            must, goal = (
                f"{sign} {bar[limit]:g}{bar['unit']}" if bar[limit] is not None else ""
                for limit in ("must", "goal")
            )
            rows.append(
                (
                    bar["question"],
                    bar["what"] + note,
                    must,
                    goal,
                    f"{bar['measured']:.3g}{bar['unit']}",
                    verdict,
                )
            )
        if record["wrong"]:
            kept = False
            rows.append((record["question"], record["wrong"].splitlines()[0], "", "", "", "**failed**"))
        rows += [(record["question"], f"left out: {text}", "", "", "", "") for text in record["skipped"]]
    lines = [f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows)]
    return "\n".join(["", *lines, "", *behind(records)]), kept


def behind(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Medians and spreads of every run."""
    lines = ["| series | who | command s (min-max) | job s | peak MB |", "| --- | --- | --- | --- | --- |"]
    for record in records:
        for title, series in record["series"].items():
            for name, one in series.items():
                seconds = one["seconds"]
                jobs = [job for job in one["job_seconds"] if job is not None]
                job = f"{median(jobs):.2f}" if jobs else ""
                spread = f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
                peak = f"{one['peak_mb']:.0f}" if one["peak_mb"] is not None else ""
                lines.append(f"| {title} | {name} | {spread} | {job} | {peak} |")
    return lines


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Every ratio with a must as a bar relative to it, one figure; says where it is, or why there is none."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no figure: matplotlib is not installed (pip install '.[bench]')"
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [bar for record in records for bar in record["bars"] if bar["must"]]
    if not bars:
        return "no figure: nothing was measured against a must"
    # 1 is the must; below it is better, whichever way the bar counts.
    parts = [
        bar["must"] / bar["measured"] if bar["at_least"] else bar["measured"] / bar["must"] for bar in bars
    ]
    figure, axes = pyplot.subplots(figsize=(12, 0.24 * len(bars) + 0.8))
    places = range(len(bars), 0, -1)
    axes.barh(list(places), parts, color=["tab:green" if part <= 1 else "tab:red" for part in parts])
    for place, part, bar in zip(places, parts, bars, strict=True):
        measured = f" {bar['measured']:.3g}{bar['unit']}"
        axes.text(part, place, measured, va="center", fontsize=8, bbox={"color": "white", "pad": 0.5})
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(places), [f"{bar['question']}: {bar['what']}" for bar in bars], fontsize=8)
    axes.set_ylim(0.3, len(bars) + 0.7)
    axes.set_xlim(0, max([1.0, *parts]) * 1.12)
    axes.set_xlabel("part of its limit: shorter is better", loc="right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80, bbox_inches="tight")
    return f"figure  {path}"
