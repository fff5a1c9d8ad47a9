"""Ids to input ids and back, approximate titles, and invalid files."""

import re

import pytest
from transformers import AutoTokenizer

from hf_bert4rec import AmbiguousTitleError, Bert4RecTokenizer, UnknownTitleError
from tests.conftest import MOVIES, NUM_MOVIES


def test_special_tokens_come_first_and_items_in_their_order(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert len(tokenizer) == NUM_MOVIES + 3
    assert (tokenizer.first_item_id, tokenizer.num_items) == (3, NUM_MOVIES)
    assert tokenizer.encode_items(MOVIES["movie_id"]) == list(range(3, NUM_MOVIES + 3))
    assert tokenizer.item_ids == MOVIES["movie_id"]


def test_items_decode_to_the_type_of_the_data_set(tokenizer):
    assert tokenizer.decode_items(tokenizer.encode_items([13, "10", 999])) == [13, 10, None]
    assert tokenizer("13 10 999").input_ids == tokenizer.encode_items([13, 10, 999])
    strings = Bert4RecTokenizer.from_movies({"movie_id": ["b 1", "ä", "7"]})
    assert strings.decode_items(strings.encode_items(["ä", "b 1", 7])) == ["ä", "b 1", "7"]
    for wrong in (-1, 99):
        with pytest.raises(IndexError, match=f"input id {wrong}"):
            tokenizer.decode_items([wrong])
    for wrong in (-1, tokenizer.mask_token_id, NUM_MOVIES + 3):
        with pytest.raises(IndexError, match=f"input id {wrong} is not an item: items are from 3 to {NUM_MOVIES + 2}"):
            tokenizer.movie(wrong)


@pytest.mark.parametrize(
    ("typed", "movie"),
    [
        ("Toy Story (1995)", 10),
        ("toy story", 10),
        ("TOY-STORY!", 10),
        ("The Godfather", 13),
        ("Godfather, The (1972)", 13),
        ("godfather", 13),
        ("Sabrina (1954)", 16),
        ("sabrina (1995)", 19),
        ("Se7en", 22),
        ("seven", 22),
        ("amelie", 25),
    ],
)
def test_titles_match_without_case_accents_articles_or_year(tokenizer, typed, movie):
    assert tokenizer.find(typed) == movie


class Unread(list):
    def __iter__(self):
        raise AssertionError("the titles are read again")


def test_titles_are_read_for_the_first_look_up_only(tokenizer):
    tokenizer.find("Toy Story")
    tokenizer.items = {**tokenizer.items, "title": Unread(tokenizer.items["title"])}
    assert tokenizer.find("amelie") == 25


def test_a_shared_title_lists_its_movies(tokenizer):
    with pytest.raises(AmbiguousTitleError, match=r"Sabrina \(1954\) \(id 16\); Sabrina \(1995\) \(id 19\)"):
        tokenizer.find("sabrina")


def test_movies_that_differ_by_an_alias_share_a_title():
    titles = ["Hero (1992)", "Hero (Ying xiong) (2002)", "The Hero (a.k.a. Nayak) (1966)", "1984 (Orwell) (1984)"]
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": [1, 2, 3, 4], "title": titles})
    with pytest.raises(AmbiguousTitleError, match=r"may mean 2 .*\(id 1\); .*\(id 2\)\. Give the year or the id\."):
        tokenizer.find("hero")
    assert [tokenizer.find(typed) for typed in ("hero 2002", "Ying Xiong", "hero (ying xiong)")] == [2, 2, 2]
    assert tokenizer.find("The Hero") == 3
    assert tokenizer.resolve("1984") is None  # more likely an id
    without_years = Bert4RecTokenizer.from_movies({"movie_id": [1, 2], "title": ["Hero", "Hero (Ying xiong)"]})
    assert without_years.find("Hero") == 1


def test_a_title_and_year_shared_by_two_movies_asks_for_the_id():
    movies = {"movie_id": [246, 268], "title": ["Chasing Amy (1997)"] * 2}
    with pytest.raises(AmbiguousTitleError, match=r"\(id 268\)\. Give the id\."):
        Bert4RecTokenizer.from_movies(movies).find("chasing amy")


@pytest.mark.parametrize(("typed", "movie"), [("arrival", 1), ("Arrival", 1), ("The Arrival", 2), ("Arrival, The", 2)])
def test_an_article_decides_between_titles(typed, movie):
    movies = {"movie_id": [1, 2, 3], "title": ["Arrival (2016)", "Arrival, The (1996)", "Big Arrival, The (2000)"]}
    assert Bert4RecTokenizer.from_movies(movies).find(typed) == movie


SUBTITLED = {
    260: "Star Wars: Episode IV - A New Hope (1977)",
    1196: "Star Wars: Episode V - The Empire Strikes Back (1980)",
    750: "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1964)",
    4993: "Lord of the Rings: The Fellowship of the Ring, The (2001)",
    924: "2001: A Space Odyssey (1968)",
    2628: "New Hope, A (2012)",
    3328: "Ghost Dog - The Way of the Samurai (1999)",
    3329: "Conquest: Earth 3000 (1990)",
    **{item: f"Part: {item}" for item in range(5000, 5012)},
}


@pytest.mark.parametrize(
    ("typed", "movie"),
    [
        ("Empire Strikes Back", 1196),
        ("Star Wars (1977)", 260),
        ("Star Wars 1977", 260),
        ("Star Wars, 1977", 260),
        ("star wars episode v", 1196),
        ("Dr. Strangelove", 750),
        ("The Lord of the Rings", 4993),
        ("Fellowship of the Ring", 4993),
        ("A Space Odyssey", 924),
        ("A New Hope", 2628),
        ("A New Hope (1977)", 260),
        ("ghost dog", 3328),
        ("earth 3000", 3329),
    ],
)
def test_titles_match_by_their_parts(typed, movie):
    movies = {"movie_id": list(SUBTITLED), "title": list(SUBTITLED.values())}
    assert Bert4RecTokenizer.from_movies(movies).find(typed) == movie


def test_a_shared_part_lists_its_movies_and_a_number_is_no_part():
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(SUBTITLED), "title": list(SUBTITLED.values())})
    with pytest.raises(
        AmbiguousTitleError, match=r"2 movies: .*Hope \(1977\) \(id 260\); .*Back \(1980\) \(id 1196\)\."
    ):
        tokenizer.find("Star Wars")
    with pytest.raises(AmbiguousTitleError, match=r"12 movies: .*\(id 5009\); …\. Give"):
        tokenizer.find("part")
    assert tokenizer.resolve("2001") is None


LOOSELY_TYPED = {
    1: "Rocky II (1979)",
    2: "Star Trek II: The Wrath of Khan (1982)",
    3: "Godfather: Part II, The (1974)",
    4: "Kill Bill: Vol. 2 (2004)",
    5: "Seven Samurai (Shichinin no samurai) (1954)",
    6: "Toy Story 3 (2010)",
    7: "Spider-Man 2 (2004)",
    8: "L.A. Confidential (1997)",
    9: "Naked Gun 2 1/2: The Smell of Fear, The (1991)",
    10: "Schindler's List (1993)",
    11: "Halloween II (1981)",
    12: "Halloween 2 (2009)",
    13: "Nowhere (1997)",
    14: "Now Here (2010)",
    15: "Ten (2002)",
}


@pytest.mark.parametrize(
    ("typed", "movie"),
    [
        ("Rocky 2", 1),
        ("rocky two", 1),
        ("Rocky 2 (1979)", 1),
        ("Rocky 2 1979", 1),
        ("star trek 2", 2),
        ("Star Trek 2: Wrath of Khan", None),
        ("Star Trek 2: The Wrath of Khan", 2),
        ("The Godfather Part 2", 3),
        ("godfather ii", 3),
        ("Kill Bill 2", 4),
        ("The 7 Samurai", 5),
        ("Toy Story III", 6),
        ("Toy Story 2", None),
        ("spiderman 2", 7),
        ("Spiderman II", 7),
        ("la confidential", 8),
        ("Naked Gun 2½", 9),
        ("Schindler’s List", 10),
        ("Halloween 2", 12),
        ("Halloween II", 11),
        ("Halloween 2 (1981)", 11),
        ("Halloween two (1995)", None),
        ("Nowhere", 13),
        ("now here", 14),
        ("ten", 15),
        ("10 (2002)", None),
    ],
)
def test_other_numerals_and_blanks_match_where_nothing_else_does(typed, movie):
    movies = {"movie_id": list(LOOSELY_TYPED), "title": list(LOOSELY_TYPED.values())}
    tokenizer = Bert4RecTokenizer.from_movies(movies)
    assert tokenizer.resolve(typed) == (None if movie is None else tokenizer.first_item_id + movie - 1)


def test_an_unknown_title_suggests_near_ones(tokenizer):
    with pytest.raises(UnknownTitleError, match=r"did you mean 'Toy Story \(1995\)'"):
        tokenizer.find("Toy Storie")
    with pytest.raises(UnknownTitleError, match=r"'Story'; did you mean 'Toy Story \(1995\)'\?"):
        tokenizer.find("Story")
    with pytest.raises(UnknownTitleError, match="1999"):
        tokenizer.find("Toy Story (1999)")
    with pytest.raises(UnknownTitleError, match=r"^no movie is called '\?!'$"):  # nor is a title that is missing
        Bert4RecTokenizer.from_movies({"movie_id": [1], "title": [None]}).find("?!")


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("spirited awy", ["Spirited Away (Sen to Chihiro no kamikakushi)", "Suspiria"]),
        ("Bicycle Theif", ["Bicycle Thieves (a.k.a. The Bicycle Thief)"]),
        ("empire strikes bak", ["Star Wars: Episode V - The Empire Strikes Back"]),
        ("raiders", ["Raiders of the Lost Ark (Indiana Jones and the Raiders)"]),  # once, though two names match
        ("wizard school", ["Wizard School and the Map", "Wizard School and the Key", "Wizard School and the Door"]),
        ("wizard school 2", ["Wizard School and the Map", "Wizard School and the Key", "Wizard School and the Door"]),
        ("2002", ["2002 Nights"]),
        ("???", []),
    ],
)
def test_suggestions_are_movies_by_any_of_their_names_in_the_order_of_the_catalogue(typed, suggested):
    titles = [
        None,
        "Suspiria",
        "Spirited Away (Sen to Chihiro no kamikakushi)",
        "Bicycle Thieves (a.k.a. The Bicycle Thief)",
        "Star Wars: Episode V - The Empire Strikes Back",
        "Raiders of the Lost Ark (Indiana Jones and the Raiders)",
        *(f"Wizard School and the {thing}" for thing in ("Map", "Key", "Door", "Owl")),
        "2002 Nights",
    ]
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": list(range(len(titles))), "title": titles})
    with pytest.raises(UnknownTitleError) as error:
        tokenizer.find(typed)
    assert re.findall("'([^']+)'", str(error.value)) == [typed, *suggested]


def test_nothing_is_lost_by_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for again in (Bert4RecTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.items == tokenizer.items
        assert again.movie(4) == tokenizer.movie(4)
        assert again.item_id_type == "int"
    Bert4RecTokenizer.from_movies({"movie_id": ["7"]}).save_pretrained(tmp_path)
    assert Bert4RecTokenizer.from_pretrained(tmp_path).item_ids == ["7"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no movies"),
        ([1, "2"], "mixes types"),
        (["2", 0], "mixes types"),
        ([1, 2, 1], "duplicate movie_id '1'"),
        (["a", "[MASK]"], "special token"),
    ],
)
def test_bad_ids_are_named(ids, message):
    with pytest.raises(ValueError, match=message):
        Bert4RecTokenizer.from_movies({"movie_id": ids})


@pytest.mark.parametrize("odd", ['": 5', ": 5", "a}b", 'a"b', "back\\slash", "é", '{"vocab": {'])
def test_ids_with_the_marks_of_json_are_loaded_as_they_were_saved(odd, tmp_path):
    ids = ["a", odd, "b"]
    tokenizer = Bert4RecTokenizer.from_movies({"movie_id": ids})
    tokenizer.save_pretrained(tmp_path)
    loaded = Bert4RecTokenizer.from_pretrained(tmp_path)
    assert loaded.item_ids == ids
    assert loaded.encode_items(ids) == [3, 4, 5]
