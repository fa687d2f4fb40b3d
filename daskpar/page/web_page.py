"""Puts the page together: its text is fixed; what a run's data say enters as JSON alone, never as markup."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PLOTS = ("pipeline", "progress", "timeline", "runtimes", "failures", "processors")
"""Parts of the page that may stand alone."""

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""


@cache
def asset(name: str) -> str:
    """The text of `page.js` or `page.css`."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def page_html(*, plot: str, nonce: str) -> str:
    """The live page, or one of its plots alone; `nonce` is that of its Content-Security-Policy."""
    folder = "daskpar/"  # all addresses are relative: the dashboard may lie behind a proxy with a prefix
    return (
        f"{_HEAD}<title>daskpar</title>\n"
        f'<link rel="stylesheet" href="{folder}page.css">\n</head>\n'
        f'<body data-mode="live" data-plot="{html.escape(plot)}">\n<main id="page"></main>\n'
        f'<script nonce="{nonce}" src="{folder}page.js"></script>\n</body>\n</html>\n'
    )


def report_html(document: Mapping[str, object], *, title: str, summary: str) -> str:
    """A report that stands alone: no request leaves it.

    `summary`: what is shown where scripts are off.
    """
    script = f"\n{asset('page.js')}"
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'{_HEAD}<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('page.css')}</style>\n</head>\n"
        f'<body data-mode="report" data-plot="">\n<main id="page"></main>\n'
        f"<noscript><pre>{html.escape(summary)}</pre></noscript>\n"
        f'<script type="application/json" id="data">{json_for_html(document)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def json_for_html(value: object) -> str:
    """JSON that can stand in a `<script>`: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def packed(value: object) -> str:
    """A long table as text that `page.js` unpacks: JSON, deflated, base64."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "replace"
    )
    return base64.b64encode(zlib.compress(data, 3)).decode()
