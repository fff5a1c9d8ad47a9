"""Generated parts of Markdown files: the text between two comment lines."""

import re
from pathlib import Path

from hf_bert4rec.files import write_text


def replace_between_marks(path: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what the file has between the two marks."""
    content = path.read_text(encoding="utf-8")
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    if not re.search(pattern, content, flags=re.DOTALL):
        raise ValueError(f"{path} lacks the marks {marks[0]!r} and {marks[1]!r} around the generated text; add them")
    generated = "\n\n".join(part for part in (marks[0], text, marks[1]) if part)
    write_text(path, re.sub(pattern, lambda _: generated, content, flags=re.DOTALL))
