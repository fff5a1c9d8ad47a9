"""The words of cards, from the templates in `model_card/`, and escaping of text from data sets and configs."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from string import Template
from typing import Any

from ...files import data_folder

MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """A template of the folder `model_card` with its fields filled in; empty ones leave no gap."""
    text = Template((data_folder("model_card") / template).read_text(encoding="utf-8")).substitute(fields)
    return re.sub(r"\n{3,}", "\n\n", text)


def plain(text: object) -> str:
    """The text on one line, with Markdown and HTML escaped and control characters replaced by blanks."""
    line = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in str(text))
    return MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))
