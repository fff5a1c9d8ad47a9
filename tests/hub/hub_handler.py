"""Request handler of the loopback Hub: accounts, uploads and downloads."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.hub_contents import LFS_SUFFIXES, Commit, Repo, card_problems, commit_of, entry_of, listing, oid_of

WRITER, READER, OUTSIDER = "hf_writer_token", "hf_reader_token", "hf_outsider_token"
ACCOUNTS = {WRITER: ("someone", "write"), READER: ("someone", "read"), OUTSIDER: ("outsider", "write")}
TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
CUT, CUT_AFTER = "cut", "cut after"  # the connection breaks before the request is carried out, or after
OVERTAKEN = "overtaken"  # someone else's commit arrives before the request is carried out


@dataclass
class Rule:
    """What happens to requests that match: a status, CUT, CUT_AFTER or OVERTAKEN."""

    method: str
    pattern: str
    action: int | str


class Refusal(Exception):
    """An error response."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """Answers a request with a method of `ROUTES`, which may raise `Refusal`."""

    hub: Any
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet; two packets cost 40 ms (Nagle's algorithm)

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        self.path_only, self.query = unquote(split.path), parse_qs(split.query)
        with self.hub.lock:
            self.hub.requests.append((self.command, self.path_only))
            rule = next(
                (r for r in self.hub.rules if r.method == self.command and re.search(r.pattern, self.path_only)), None
            )
        if rule is not None and self.path_only != "/_rules":
            if isinstance(rule.action, int):
                return self.send(rule.action, {"error": "failure set by a rule"})
            if rule.action == CUT:
                return self.cut()
            if rule.action == OVERTAKEN:
                self.overtake()
        try:
            with self.hub.lock:
                status, content, headers = self.route()
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            status, content = refusal.status, {"error": str(refusal)}
        if rule is not None and rule.action == CUT_AFTER and self.path_only != "/_rules":
            return self.cut()
        return self.send(status, content, headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def overtake(self) -> None:
        match = re.match(API, self.path_only)
        assert match
        branch = self.repo(match["types"], match["name"]).branches["main"]
        branch.append(commit_of("someone else's", dict(branch[-1].files), len(branch)))

    def cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def route(self) -> tuple[int, Any, dict[str, str]]:
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, self.path_only)
            if self.command in method.split("|") and match:
                result = answer(self, **match.groupdict())
                return result if isinstance(result, tuple) else (200, result, {})
        raise Refusal(404, f"no such endpoint: {self.command} {self.path_only}")

    # Authorization

    def account(self) -> tuple[str, str]:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ACCOUNTS:
            raise Refusal(401, "Invalid username or password.")
        return ACCOUNTS[token]

    def may_write(self, name: str) -> None:
        account, role = self.account()
        if role != "write" or name.split("/")[0] != account:
            raise Refusal(403, f"You don't have the rights to write to {name}")

    def repo(self, types: str | None, name: str) -> Repo:
        repo = self.hub.repos.get((TYPES[types or "models"], name))
        if repo is not None and repo.private:
            account, _ = self.account()
            repo = repo if account == name.split("/")[0] else None
        if repo is None:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repo

    def commit_at(self, types: str | None, name: str, revision: str) -> Commit:
        commit = self.repo(types, name).at(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # Accounts and repositories

    def whoami(self) -> Any:
        account, role = self.account()
        return {"type": "user", "name": account, "auth": {"type": "access_token", "accessToken": {"role": role}}}

    def create(self) -> Any:
        request = json.loads(self.body)
        account, _ = self.account()
        name = f"{request.get('organization') or account}/{request['name']}"
        self.may_write(name)
        key = (request.get("type") or "model", name)
        if key in self.hub.repos:
            raise Refusal(409, "You already created this repo")
        if key[0] == "space" and not request.get("sdk"):
            raise Refusal(400, "a Space needs an sdk")
        repo = Repo(private=bool(request.get("private") or request.get("visibility") == "private"))
        repo.branches["main"] = [commit_of("initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})]
        self.hub.repos[key] = repo
        return {"url": f"{self.hub.url}/{name}", "name": name}

    def branch(self, types: str, name: str, branch: str) -> Any:
        self.may_write(name)
        repo = self.repo(types, name)
        if branch in repo.branches:
            raise Refusal(409, "Reference already exists")
        repo.branches[branch] = list(repo.branches["main"])
        return {}

    def info(self, types: str, name: str, revision: str = "main") -> Any:
        commit, repo = self.commit_at(types, name, revision), self.repo(types, name)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        info = {"_id": name, "id": name, "sha": commit.sha, "private": repo.private, "siblings": siblings, "tags": []}
        return info | {"lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}

    # Collections

    def create_collection(self) -> Any:
        request = json.loads(self.body)
        self.may_write(f"{request['namespace']}/")
        slug = f"{request['namespace']}/{request['title'].lower()}-{'0' * 24}"
        if slug in self.hub.collections:
            return 409, {"error": "This collection already exists", "slug": slug}, {}
        if len(request["title"]) > 59 or len(request["description"]) > 150:
            raise Refusal(400, "too long")
        dates = {"lastUpdated": "2026-01-01T00:00:00.000Z"}
        collection = {"slug": slug, "title": request["title"], "owner": {"name": request["namespace"]}, "items": []}
        collection |= {**dates, "private": request["private"], "theme": "green", "upvotes": 0, "position": 0}
        self.hub.collections[slug] = collection
        return collection

    def collection(self, slug: str) -> Any:
        return self.hub.collections[slug]

    def add_item(self, slug: str) -> Any:
        self.may_write(slug)
        collection, item = self.hub.collections[slug], json.loads(self.body)["item"]
        if (item["type"], item["id"]) not in self.hub.repos:
            raise Refusal(404, "no such repository")
        if any((known["type"], known["id"]) == (item["type"], item["id"]) for known in collection["items"]):
            return 409, {"error": "This item is already in the collection"}, {}
        collection["items"].append({"_id": f"{len(collection['items'])}", "position": len(collection["items"]), **item})
        return collection

    # Uploads

    def validate_yaml(self) -> Any:
        request = json.loads(self.body)
        problems = card_problems(request["content"], request.get("repoType") or "model")
        if problems:
            return 400, {"errors": [{"message": problem} for problem in problems], "warnings": []}, {}
        return {"errors": [], "warnings": []}

    def preupload(self, types: str, name: str, revision: str) -> Any:
        self.may_write(name)
        files = self.commit_at(types, name, revision).files
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": False,
                    "oid": None if file["path"] not in files else oid_of(file["path"], files[file["path"]]),
                }
                for file in json.loads(self.body)["files"]
            ]
        }

    def lfs_batch(self, name: str, types: str | None = None) -> Any:
        self.may_write(name)
        objects = []
        for file in json.loads(self.body)["objects"]:
            entry = {"oid": file["oid"], "size": file["size"]}
            if file["oid"] not in self.hub.large:
                url = f"{self.hub.url}/_lfs/{file['oid']}"
                entry["actions"] = {"upload": {"href": url}, "verify": {"href": f"{url}/verify"}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "the content has another sha256")
        self.hub.large[oid] = self.body
        return {}

    def lfs_verify(self, oid: str) -> Any:
        if oid not in self.hub.large:
            raise Refusal(404, "no such large file")
        return {}

    def commit(self, types: str, name: str, revision: str) -> Any:
        self.may_write(name)
        repo = self.repo(types, name)
        files = dict(self.commit_at(types, name, revision).files)
        message = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            kind, value = entry["key"], entry["value"]
            if kind == "header":
                message = value["summary"]
                if value.get("parentCommit", repo.branches[revision][-1].sha) != repo.branches[revision][-1].sha:
                    raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise Refusal(400, f"{value['path']} was not uploaded")
                files[value["path"]] = self.hub.large[value["oid"]]
            elif kind == "deletedFile" and files.pop(value["path"], None) is None:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        made = commit_of(message, files, len(repo.branches[revision]))
        repo.branches[revision].append(made)
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{made.sha}", "commitOid": made.sha, "success": True}

    # Downloads

    def tree(self, types: str, name: str, revision: str, folder: str = "") -> Any:
        deep = self.query.get("recursive", [""])[0].lower() in ("true", "1")
        listed = listing(self.commit_at(types, name, revision).files, folder.strip("/"), deep)
        if folder and not listed:
            self.refuse_entry(folder)
        return listed

    def paths_info(self, types: str, name: str, revision: str) -> Any:
        files = self.commit_at(types, name, revision).files
        content_type = self.headers.get("Content-Type", "")
        request = json.loads(self.body) if "json" in content_type else parse_qs(self.body.decode())
        paths = [request["paths"]] if isinstance(request["paths"], str) else request["paths"]
        entries = [entry_of(path, files[path]) for path in paths if path in files]
        return entries + [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            for path in paths
            if any(name.startswith(f"{path}/") for name in files)
        ]

    def resolve(self, name: str, revision: str, path: str, types: str | None = None) -> Any:
        commit = self.commit_at(types, name, revision)
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if path not in commit.files:
            self.refuse_entry(path)
        data = commit.files[path]
        headers |= {"ETag": f'"{oid_of(path, data)}"', "Content-Type": "application/octet-stream"}
        if path.endswith(LFS_SUFFIXES):
            sha = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(data)), "ETag": f'"{sha}"'}
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if byte_range is None:
            return 200, data, headers
        first, last = int(byte_range[1]), min(int(byte_range[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first : last + 1], headers

    def refuse_entry(self, path: str) -> None:
        raise Refusal(404, f"{path} does not exist", "EntryNotFound")

    def set_rules(self) -> Any:
        self.hub.large.clear()  # drop files of a failed push, so that the next one has to upload them again
        self.hub.rules[:] = [Rule(*rule) for rule in json.loads(self.body)]
        return {}


API = r"/api/(?P<types>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
PLAIN = r"/(?:(?P<types>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", API + r"/branch/(?P<branch>.+)", Handler.branch),
    ("POST", API + r"/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", API + r"/commit/(?P<revision>.+)", Handler.commit),
    ("POST", API + r"/paths-info/(?P<revision>.+)", Handler.paths_info),
    (
        "GET",
        API + r"/tree/(?P<revision>[^/]+)(?P<folder>/.*)?",
        lambda self, folder=None, **k: self.tree(folder=folder or "", **k),
    ),
    ("GET|HEAD", API + r"/revision/(?P<revision>.+)", Handler.info),
    ("GET|HEAD", API, Handler.info),
    ("POST", PLAIN + r"\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("POST", r"/_lfs/(?P<oid>\w+)/verify", Handler.lfs_verify),
    ("PUT", r"/_lfs/(?P<oid>\w+)", Handler.lfs_put),
    ("GET|HEAD", PLAIN + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("POST", r"/api/collections", Handler.create_collection),
    ("GET", r"/api/collections/(?P<slug>[^/]+/[^/]+)", Handler.collection),
    ("POST", r"/api/collections/(?P<slug>[^/]+/[^/]+)/items", Handler.add_item),
    ("POST", r"/_rules", Handler.set_rules),
]
