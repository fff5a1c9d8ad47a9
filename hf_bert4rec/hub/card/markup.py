"""Escaping of text from data sets and configs, so that Markdown and HTML show it as it is."""

from __future__ import annotations

import html
import re
import unicodedata

MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")


def plain(text: object) -> str:
    """The text on one line, with Markdown and HTML escaped and control characters replaced by blanks."""
    line = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in str(text))
    return MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))
