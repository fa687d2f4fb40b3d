from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib

import pytest

from daskpar.page.web_page import PLOTS, json_for_html, packed, page_html, report_html

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 \u2029 & \" '"


def test_json_in_a_script_ends_no_script() -> None:
    text = json_for_html({HOSTILE: [HOSTILE]})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {HOSTILE: [HOSTILE]}


def test_a_long_table_is_packed() -> None:
    value = {"names": [f"part-{number:05}.csv" for number in range(10_000)], "sign": "\udcff"}
    text = packed(value)
    assert len(text) < 100_000
    found = json.loads(zlib.decompress(base64.b64decode(text)))
    assert found == {**value, "sign": "?"}


def test_a_report_allows_its_own_script_alone() -> None:
    text = report_html({"run": HOSTILE}, title=HOSTILE, summary=HOSTILE)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text and "default-src 'none'" in text
    assert "alert(1)</script>" not in text
    # Nothing is loaded from anywhere.
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", text)


@pytest.mark.parametrize("plot", ["", *PLOTS])
def test_a_page_has_relative_addresses(plot: str) -> None:
    """The dashboard may lie behind a proxy, with a prefix."""
    text = page_html(plot=plot, nonce="abc")
    assert f'data-plot="{plot}"' in text
    assert re.findall(r'(?:src|href)="([^"]+)"', text) == ["daskpar/page.css", "daskpar/page.js"]
