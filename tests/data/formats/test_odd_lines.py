from daskpar.data.formats.odd_lines import Apart, set_apart


def test_lines_with_quotes_or_lone_returns_are_set_apart() -> None:
    data = b'1\n\n2,"x\r\n3\r\n4\r4\n5\n6\n"7'
    assert set_apart(data) == Apart(b"1\n\n3\r\n5\n6\n", [1, 3, 6], ['2,"x', "4\r4", '"7'], 7)


def test_nothing_is_set_apart_where_it_is_not_worth_it() -> None:
    assert set_apart(b'1\n"2\n"3\n') is None
    assert set_apart(b"1\r\n2\n") is None
