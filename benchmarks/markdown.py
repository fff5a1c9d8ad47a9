"""Generated parts of Markdown files, the text between two comment lines, and the result files they are made from."""

import json
import re
from pathlib import Path
from typing import Any

from hf_bert4rec.files import write_text


def read_json_files(folder: Path, pattern: str = "*.json") -> list[dict[str, Any]]:
    """The JSON files of a folder in the order of their names."""
    paths = sorted(folder.glob(pattern), key=lambda path: path.stem)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def replace_between_marks(path: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what the file has between the two marks."""
    content = path.read_text(encoding="utf-8")
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    if not re.search(pattern, content, flags=re.DOTALL):
        raise ValueError(f"{path} lacks the marks {marks[0]!r} and {marks[1]!r} around the generated text; add them")
    generated = "\n\n".join(part for part in (marks[0], text, marks[1]) if part)
    write_text(path, re.sub(pattern, lambda _: generated, content, flags=re.DOTALL))
