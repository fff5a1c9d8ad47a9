"""Text of a stranger's table in a card: it is shown, and means nothing to Markdown or a browser."""

from __future__ import annotations

import html
import re
import unicodedata

MARKS = re.compile(r"([\\`*_\[\]|~#])")


def plain(text: object) -> str:
    """The text on one line, with what Markdown and HTML would act on made harmless."""
    line = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in str(text))
    return MARKS.sub(r"\\\1", html.escape(line, quote=False))
