"""Markup in titles is escaped in cards."""

from __future__ import annotations

import pytest

from hf_bert4rec.hub.card import plain, render_card
from tests.published import read


@pytest.mark.parametrize(
    ("title", "escaped"),
    [
        ("Amélie (2001)", "Amélie (2001)"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[click](http://x) | `code` *b* _i_", r"\[click\](http://x) \| \`code\` \*b\* \_i\_"),
        ("one\n# two\x00\u202e", r"one \# two  "),
        (7, "7"),
    ],
)
def test_markup_is_escaped(title, escaped):
    assert plain(title) == escaped


def test_a_card_escapes_the_titles_of_its_examples(model_folder):
    evaluation = read(model_folder / "evaluation.json")
    for movie in evaluation["examples"][0]["recommended"]:
        movie["title"] = "<img src=x onerror=alert(1)> | [a](javascript:b)"
    card = render_card(read(model_folder / "training.json"), evaluation, titles=True)
    assert "<img" not in card
    assert "[a](" not in card.replace("\\[a\\](", "")
    assert "&lt;img src=x onerror=alert(1)&gt;" in card
