from daskpar.data.formats.careful_lines import CarefulLines, split_careful_lines


def test_lines_with_quotes_or_lone_returns_are_split_off() -> None:
    data = b'1\n\n2,"x\r\n3\r\n4\r4\n5\n6\n"7'
    assert split_careful_lines(data) == CarefulLines(
        b"1\n\n3\r\n5\n6\n", [1, 3, 6], ['2,"x', "4\r4", '"7'], 7
    )


def test_nothing_is_split_off_where_it_is_not_worth_it() -> None:
    assert split_careful_lines(b'1\n"2\n"3\n') is None
    assert split_careful_lines(b"1\r\n2\n") is None
