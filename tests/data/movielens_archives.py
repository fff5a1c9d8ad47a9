"""Small synthetic releases in MovieLens' layouts, with their irregularities, and a server for them."""

import contextlib
import dataclasses
import hashlib
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hf_bert4rec.data import releases

Rating = tuple[int, int, float, int]
Movie = tuple[int, str, list[str]]

# (movie id, title as released, genres)
MOVIES: list[Movie] = [
    (1, "Toy Story (1995)", ["Animation", "Children's", "Comedy"]),
    (2, "Godfather, The (1972)", ["Crime", "Drama"]),
    (5, " 11'09\"01 - September 11 (2002) ", ["Drama"]),
    (9, "Misérables, Les (1995)", ["Drama", "Musical"]),
    (10, "Good :: Bad (1966)", ["Western"]),
    (12, "Babylon 5", []),
    (14, "Toy Story (1995)", ["Drama"]),
    (20, "Land Before Time III (1995) (V)", ["Animation"]),
]
CLEAN = [
    {"movie_id": 1, "title": "Toy Story", "year": 1995, "genres": ["Animation", "Children's", "Comedy"]},
    {"movie_id": 2, "title": "Godfather, The", "year": 1972, "genres": ["Crime", "Drama"]},
    {"movie_id": 5, "title": "11'09\"01 - September 11", "year": 2002, "genres": ["Drama"]},
    {"movie_id": 9, "title": "Misérables, Les", "year": 1995, "genres": ["Drama", "Musical"]},
    {"movie_id": 10, "title": "Good :: Bad", "year": 1966, "genres": ["Western"]},
    {"movie_id": 12, "title": "Babylon 5", "year": None, "genres": []},
    {"movie_id": 14, "title": "Toy Story", "year": 1995, "genres": ["Drama"]},
    {"movie_id": 20, "title": "Land Before Time III", "year": 1995, "genres": ["Animation"]},
]
# (user, movie, rating, timestamp): movie 20 is never rated, and the order is not that of users or times.
RATINGS: list[Rating] = [
    (2, 14, 3, 880),
    (1, 1, 5, 1000),
    (1, 9, 4, 1000),
    (3, 10, 1, 900),
    (2, 2, 2, 870),
    (1, 5, 4, 999),
    (3, 12, 5, 901),
]


def small_release(name: str, ratings: Sequence[Rating] = RATINGS, movies: Sequence[Movie] = MOVIES) -> releases.Release:
    """The release of this name with the counts of the made-up tables."""
    return dataclasses.replace(
        releases.RELEASES[name],
        users=len({user for user, *_ in ratings}),
        rated_movies=len({movie for _, movie, *_ in ratings}),
        movies=len(movies),
        ratings=len(ratings),
    )


def write_release(root: Path, name: str, ratings: Sequence[Rating] = RATINGS, movies: Sequence[Movie] = MOVIES) -> Path:
    """Write the made-up release to `root`/`name`, in its own layout; return the folder."""
    layout = releases.RELEASES[name].layout
    folder = root / name
    folder.mkdir(parents=True)
    rated = [layout.separator.join(map(str, row)) for row in ratings]
    listed = [_movie_line(layout.separator, *movie) for movie in movies]
    end = "\r\n" if layout.separator == "," else "\n"
    for file, header, lines, encoding in (
        (layout.ratings_file, layout.header, rated, "ascii"),
        (layout.movies_file, layout.movies_header, listed, layout.encoding),
    ):
        text = "".join(f"{line}{end}" for line in ([header] if header else []) + lines)
        (folder / file).write_bytes(text.encode(encoding))
    return folder


def _movie_line(separator: str, movie_id: int, title: str, genres: list[str]) -> str:
    if separator == "\t":
        flags = "|".join(str(int(genre in (genres or ["unknown"]))) for genre in releases.GENRES_100K)
        return f"{movie_id}|{title}|01-Jan-1995||http://example.org|{flags}"
    listed = "|".join(genres) or "(no genres listed)"
    if separator == "::":
        return f"{movie_id}::{title}::{listed}"
    quoted = '"' + title.replace('"', '""') + '"' if '"' in title or "," in title else title
    return f"{movie_id},{quoted},{listed}"


def zip_release(folder: Path) -> Path:
    """Zip the folder, as one folder in the archive, as GroupLens does."""
    archive = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.iterdir()):
            opened.write(path, f"{folder.name}/{path.name}")
    return archive


class Server(ThreadingHTTPServer):
    """Serves `files` by name with ranges, and with `breaks` closes the connection of as many answers half-way.

    `requests` lists (path, Range header) of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.breaks = 0
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def publish(self, archive: Path) -> None:
        """Offer an archive and its md5."""
        data = archive.read_bytes()
        self.files[archive.name] = data
        digest = hashlib.md5(data).hexdigest()
        self.files[f"{archive.name}.md5"] = f"MD5 ({archive.name}) = {digest}\n".encode()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, byte_range = self.path.lstrip("/"), self.headers.get("Range")
        self.server.requests.append((name, byte_range))
        if name not in self.server.files:
            self.send_error(404)
            return
        data, status = self.server.files[name], 200
        if byte_range and self.server.ranges:
            start = int(byte_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            data, status = data[start:], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if name.endswith(".zip") and self.server.breaks:
            self.server.breaks -= 1
            data = data[: len(data) // 2]
        with contextlib.suppress(ConnectionError):  # the client was killed
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on loopback for as long as the block runs."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
