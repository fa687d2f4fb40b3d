"""What scripts see of daskpar: the context of a mini-batch."""

from __future__ import annotations

import pytest

from daskpar.processor.context import MiniBatchContext


def test_the_context_says_which_mini_batch_it_is_and_cannot_be_changed():
    batch = ["a"]
    context = MiniBatchContext(4, {"Store": 2, "Brand": "x"}, batch)
    assert (context.minibatch_index, context.partition_key_value, context.dataset) == (
        4,
        {"Store": 2, "Brand": "x"},
        batch,
    )
    assert list(context.partition_key_value) == ["Store", "Brand"]
    assert "minibatch_index=4" in repr(context)
    for name in ("minibatch_index", "partition_key_value", "dataset", "something"):
        with pytest.raises(AttributeError):
            setattr(context, name, 1)
