"""The binding grammar, by table and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.jobspec.bindings import (
    Binding,
    BindingError,
    Reference,
    fill_segments,
    only_binding,
    parse,
    reference_of,
    substitute,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[A-Za-z_][A-Za-z0-9_]{0,4}){0,2}", fullmatch=True)
blanks = st.sampled_from(["", " ", "  ", "\t", "\n"])
texts = st.text(st.characters(exclude_characters="${}[]\r", exclude_categories=["Cs"]), max_size=20)
bodies = st.builds(
    lambda kind, name: f"{kind}.{name}",
    st.sampled_from(["inputs", "outputs", "parent.inputs", "jobs.s.outputs"]),
    names,
)


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ("inputs.a", Reference(scope="own", kind="inputs", name="a")),
        ("outputs.a", Reference(scope="own", kind="outputs", name="a")),
        ("inputs.group.member", Reference(scope="own", kind="inputs", name="group.member")),
        ("parent.inputs.a", Reference(scope="parent", kind="inputs", name="a")),
        ("parent.outputs.a", Reference(scope="parent", kind="outputs", name="a")),
        ("parent.jobs.s.outputs.a", Reference(scope="parent", kind="outputs", name="a", step="s")),
        ("parent.jobs.s.inputs.a", Reference(scope="parent", kind="inputs", name="a", step="s")),
        ("jobs.s.outputs.a", Reference(scope="parent", kind="outputs", name="a", step="s")),
        ("default_datastore", Reference(scope="server", name="default_datastore")),
        ("name", Reference(scope="server", name="name")),
        ("output_name", Reference(scope="server", name="output_name")),
        ("search_space.a", None),
        ("inputs", None),
        ("inputs.", None),
        ("inputs.1a", None),
        ("parent.name", None),
        ("", None),
    ],
)
def test_forms(body: str, meaning: Reference | None) -> None:
    assert reference_of(Binding(body)) == meaning


def test_an_unprefixed_input_of_a_node_is_the_pipelines() -> None:
    assert reference_of(Binding("inputs.a"), unprefixed="parent") == Reference(
        scope="parent", kind="inputs", name="a"
    )


@given(st.lists(st.tuples(texts, bodies, blanks, blanks), max_size=5), texts)
def test_texts_and_bindings_are_told_apart(pieces: list[tuple[str, str, str, str]], last: str) -> None:
    """Whatever stands round a binding, and however many blanks are in its braces."""
    written = "".join(f"{text}${{{{{before}{body}{after}}}}}" for text, body, before, after in pieces) + last
    expected = [part for text, body, _, _ in pieces for part in (text, Binding(body))] + [last]
    assert parse(written) == [part for part in expected if part != ""]


@given(st.lists(st.one_of(texts, bodies.map(Binding)), max_size=6))
def test_substitution_replaces_bindings_and_nothing_else(parts: list[str | Binding]) -> None:
    """What is put in is not searched again."""
    assert substitute("".join(map(str, parts)), lambda _: "${{inputs.again}}") == "".join(
        part if isinstance(part, str) else "${{inputs.again}}" for part in parts
    )


@given(bodies, blanks)
def test_whole(body: str, blank: str) -> None:
    assert only_binding(f"{blank}${{{{{blank}{body}{blank}}}}}{blank}") == Binding(body)
    assert only_binding(f"x${{{{{body}}}}}") is None


@pytest.mark.parametrize("text", ["${{inputs.a", "a ${{ inputs.a } b", "${{inputs.a}} ${{inputs.{b}}}"])
def test_unclosed(text: str) -> None:
    with pytest.raises(BindingError, match="is not closed"):
        parse(text)


@pytest.mark.parametrize("text", ["$", "${HOME}", "$(ls)", "{{x}}", "${ {x}}", "{'a': 1}", "$$"])
def test_what_is_no_binding_stays(text: str) -> None:
    assert parse(text) == [text]


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("a $[[--x ${{inputs.yes}}]] b", "a --x ${{inputs.yes}} b"),
        ("a $[[--x ${{inputs.no}}]] b", "a  b"),
        ("$[[${{inputs.yes}} ${{inputs.no}}]]", ""),
        ("$[[--flag]]", "--flag"),
        ("$[[--x\n ${{ inputs.yes }}]]$[[--y ${{inputs.no}}]]", "--x\n ${{ inputs.yes }}"),
        ("a[0] [[ x ]]", "a[0] [[ x ]]"),
    ],
)
def test_optional_segments(text: str, settled: str) -> None:
    assert fill_segments(text, lambda binding: binding.body == "inputs.yes") == settled


@pytest.mark.parametrize("text", ["a $[[--m ${{inputs.yes}} end", "$[[a]] $[[b]", "$[["])
def test_unclosed_segments(text: str) -> None:
    with pytest.raises(BindingError, match="is not closed: an optional segment"):
        fill_segments(text, lambda binding: True)
