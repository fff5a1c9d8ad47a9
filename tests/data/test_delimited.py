"""CSV and TSV files: quotes, escapes, byte order marks, and errors."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from hf_bert4rec.data import read_interactions
from hf_bert4rec.data.arguments import TableOptions
from hf_bert4rec.data.tables import read_table

SPARK = 'user_id,movie_id,timestamp\nann,"Nail 6\\" steel",1\nann,Hammer,2\nbob,"Nail 5\\" steel",3\nbob,"C:\\\\",4\n'


def rows(folder: Path, text: str | bytes, name: str = "mine.csv", **options: Any) -> list[tuple[Any, ...]]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, "rows", TableOptions(**options)).rows().rows()


def test_backslash_escapes_are_refused_with_their_line_or_read_with_escape_char(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine.csv, line 2: a quote mark inside a field.*steel.*escape_char"):
        rows(tmp_path, SPARK)
    expected = [("ann", 'Nail 6" steel', 1), ("ann", "Hammer", 2), ("bob", 'Nail 5" steel', 3), ("bob", "C:\\", 4)]
    ratings = read_interactions(tmp_path / "mine.csv", escape_char="\\")["ratings"]
    assert [tuple(row.values()) for row in ratings] == expected
    texts = [(user, item, str(time)) for user, item, time in expected]
    assert rows(tmp_path, gzip.compress(SPARK.encode()), "mine.csv.gz", escape_char="\\") == texts
    assert rows(tmp_path, 'a,b\nnan,"NULL"\n,1\n', escape_char="\\") == [("nan", "NULL"), (None, "1")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\nx,6" steel\ny,3" x\n', 2),
        ('a,b\nx,1\n"Crocodile" Dundee,2\n', 3),
        ('a,b\nx,1\n"y,2\nz,3\n', 3),
        ('a,b\n"x",1\n"y,2\n', 3),
        ('a,b\nx, "1"\n', 2),
        ('a,b\n"x\ny"z,2\n', 3),
    ],
)
def test_a_quote_mark_out_of_place_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"mine.csv, line {line}: a quote mark inside a field"):
        rows(tmp_path, text)


def test_quotes_as_they_should_be(tmp_path: Path) -> None:
    text = 'a,b\n"x,y","say ""hi"""\n"","z\nz"\n"""",q\n'
    assert rows(tmp_path, text) == [("x,y", 'say "hi"'), ("", "z\nz"), ('"', "q")]
    assert rows(tmp_path, 'a,b\nx,6" nail\n"y,3\n', quote_char="") == [("x", '6" nail'), ('"y', "3")]
    assert rows(tmp_path, "a,b\n'x,y',2\n", quote_char="'") == [("x,y", "2")]


def test_a_tsv_file_has_no_quotes_unless_it_says_so(tmp_path: Path) -> None:
    text = 'a\tb\n"Crocodile" Dundee\t1\n"Open\t2\nx\t3"\n'
    assert rows(tmp_path, text, "mine.tsv") == [('"Crocodile" Dundee', "1"), ('"Open', "2"), ("x", '3"')]
    assert rows(tmp_path, '"a"\t"b"\n"x"\t"1"\n', "mine.tsv", quote_char='"') == [("x", "1")]
    with pytest.raises(ValueError, match=r"""no column 'user_id'.*Are its fields quoted\? Give quote_char='"'"""):
        read_interactions(tmp_path / "mine.tsv", item_column="b", time_column=None)


def test_an_id_with_a_line_break_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('user_id,movie_id\nann,x\nann,"y\nz"\n')
    with pytest.raises(ValueError, match=r"row 1 .*'movie_id' is 'y\\nz', but an id has no line break.*quote_char"):
        read_interactions(path, time_column=None)


def test_marks_blank_lines_and_line_ends(tmp_path: Path) -> None:
    expected = [("1", "2"), ("3", "4")]
    assert rows(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4\r\n\r\n") == expected
    assert rows(tmp_path, b'\xef\xbb\xbf"a","b"\n1,2\n3,4') == expected
    assert rows(tmp_path, "a,b,\n1,2,\n") == [("1", "2", None)]
    assert rows(tmp_path, "a,b\n,2\n\n1,\n") == [(None, "2"), ("1", None)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (b"", {}, "mine.csv is empty"),
        (b"\n \n", {}, "mine.csv is empty"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], {}, "mine.csv, line 2: byte 0x0a is not UTF-16-LE; give its"),
        (b"a,b\n1,2\n", {"encoding": "utf-9"}, "encoding is 'utf-9', which Python does not know"),
        (b"a;b\n1;2\n", {"separator": "::"}, "separator is '::'; it must be one ASCII character"),
        (
            b"1,2\n",
            {"columns": ["a", "b", "c"]},
            r"columns names \['a', 'b', 'c'\], but line 1 .*: 2 with ',', 1 with ';'",
        ),
        (b"1,2\n" * 20_000 + b"1\n1,2,3\n", {"columns": ["a", "b"]}, "line 20002: 3 fields, but columns names 2"),
        (b"a,b\n1,\xe9\n", {}, "line 2: byte 0xe9 is not UTF-8"),
        (b"a,b\n1,2\n", {"columns": ["a", "b"]}, "line 1: 'a b' is a header: remove it, or leave out columns"),
        (b"userId,item\n1,2\n", {"columns": ["user", "item"]}, "line 1: 'userId item' is a header: remove it"),
        (b"a,b,a\n1,2,3\n", {}, "line 1: two columns are called 'a'"),
        (b"a,b\n1,2\n1,2,3\n", {}, r"line 3: 3 fields, but the header has 2: \['1', '2', '3'\]"),
        (b"a,b\n1,2,\n3,4,\n", {}, "line 2: 3 fields, but the header has 2"),
        (b"a,b\n1,2\n1\n", {"escape_char": "\\"}, "line 3: 1 fields, but the header has 2"),
        (b"a,b\n1,2\n", {"quote_char": "||"}, "quote_char is '||'; it must be one ASCII character"),
        (b"a,b\n1,2\n", {"escape_char": "é"}, "escape_char is 'é'; it must be one ASCII character"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: bytes, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows(tmp_path, text, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\nx,y;2,5\n", ("x,y", "2,5")),
        ("a,b\nx;y,2\n", ("x;y", "2")),
        ("a|b c\nx y|2\n", ("x y", "2")),
        ("a b\nx 2\n", ("x", "2")),
        ('"a;b","c"\n"x;y","2"\n', ("x;y", "2")),
        ("a;b,c\nx,1\n", ("x", "1")),
        ("a,b\n" + "x,2\n" * 20_000, ("x", "2")),
    ],
)
def test_the_separator_is_the_one_that_splits_all_lines_alike(
    tmp_path: Path, text: str, expected: tuple[str, str]
) -> None:
    assert set(rows(tmp_path, text)) == {expected}


def test_a_separator_that_is_a_tab_can_be_typed(tmp_path: Path) -> None:
    assert rows(tmp_path, "a;\tb\nx;\t2\n", separator="\\t") == [("x;", "2")]


def test_names_of_columns_replace_a_header(tmp_path: Path) -> None:
    text = "196\t242\t3\n22\t377\t1\n"
    path = tmp_path / "u.data"
    path.write_text(text)
    table = read_table(path, "rows", TableOptions(columns=["user_id", "movie_id", "rating"])).rows()
    assert table.to_dicts() == [
        {"user_id": "196", "movie_id": "242", "rating": "3"},
        {"user_id": "22", "movie_id": "377", "rating": "1"},
    ]
    escaped = rows(tmp_path, 'x,"6\\" nail"\n', escape_char="\\", columns=["a", "b"])
    assert escaped == [("x", '6" nail')]


def test_recbole_items_have_lists_of_words(tmp_path: Path) -> None:
    text = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAnimation Comedy\n2\t\tDrama\n"
    assert rows(tmp_path, text, "ml.item") == [("1", ["Toy", "Story"], ["Animation", "Comedy"]), ("2", None, ["Drama"])]
    movies = read_interactions(
        [{"user": 1, "item": 1}, {"user": 1, "item": 2}],
        time_column=None,
        items=tmp_path / "ml.item",
        item_columns={"title": "movie_title", "genres": "class"},
    )["movies"]
    assert movies.to_list() == [
        {"movie_id": 1, "title": "Toy Story", "year": None, "genres": ["Animation", "Comedy"]},
        {"movie_id": 2, "title": "2", "year": None, "genres": ["Drama"]},
    ]
