from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.formats.byte_scan import count_byte, count_pair, has_pair


@given(st.text("a\r\n", max_size=30).map(str.encode))
def test_bytes_are_counted_as_by_count(data: bytes) -> None:
    assert count_byte(data, 10) == data.count(b"\n")
    assert count_pair(data, b"\r\n") == data.count(b"\r\n")
    assert has_pair(data, b"\n\n") == (b"\n\n" in data)
