"""Fetching from a hub, played by a small server on this machine, through the hub's own client."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import seesay
from seesay.checkpoints.convert import convert

COMMIT, OLDER = "c" * 40, "b" * 40
REPO = "someone/model"


class Hub(ThreadingHTTPServer):
    """One repository at one commit, and a list of what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:3] == ["api", "models", "someone"] and parts[3] == "model":
            wanted = parts[5] if len(parts) > 5 else "main"
            if wanted not in ("main", "v1", COMMIT):
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            names = [{"rfilename": name} for name in self.server.files]
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "a" * 40}
                for name, data in self.server.files.items()
            ]
            info = {"id": REPO, "sha": COMMIT, "siblings": names, "private": False}
            info |= {"downloads": 0, "likes": 0, "tags": []}
            return self.answer(200, json.dumps(tree if "tree" in parts else info).encode())
        if parts[:3] == ["someone", "model", "resolve"] and parts[4] in self.server.files:
            data = self.server.files[parts[4]]
            digest = hashlib.sha256(data).hexdigest()
            return self.answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'})
        return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(files)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    seesay.create("clip-tiny").save(tmp_path / "native")
    folder = convert(tmp_path / "native", tmp_path / "hf", "hf")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    extra = {"pytorch_model.bin": b"never asked for", "modeling_evil.py": b"raise SystemExit"}
    with serving(files | extra) as hub:
        yield hub


def load(hub: Hub, home: Path, *arguments: str, offline: bool = False) -> str:
    """Load in a process of its own, whose hub is ours; returns what it printed."""
    code = (
        "import sys, json\n"
        "from seesay.checkpoints.load import read\n"
        "from seesay.errors import SeesayError\n"
        "try:\n"
        "    loaded = read(sys.argv[1], revision=sys.argv[2] if len(sys.argv) > 2 else None)\n"
        "    print('loaded', loaded.layout, loaded.revision)\n"
        "except SeesayError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    environment.pop("HF_TOKEN", None)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def test_fetch_once_then_without_network(served: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert load(served, home, REPO) == f"loaded hf {COMMIT}"
    fetched = {path.split("/")[-1] for path in served.asked if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not fetched & {"pytorch_model.bin", "modeling_evil.py"}
    served.asked.clear()
    # a commit never changes, so nobody needs to be asked again
    assert load(served, home, REPO, COMMIT) == f"loaded hf {COMMIT}"
    assert load(served, home, REPO, offline=True) == f"loaded hf {COMMIT}"
    assert served.asked == []
    served.files.clear()
    (home / "hub" / "models--someone--model" / "refs" / "main").unlink()
    assert "not in the cache" in load(served, home, REPO, offline=True)


def resolved(hub: Hub) -> set[str]:
    return {path.split("/")[-1] for path in hub.asked if "/resolve/" in path}


def test_the_configuration_tells_which_weights_are_meant(tmp_path: Path) -> None:
    """As some published ones: a tower's own files, and a whole model's under other names."""
    seesay.create("clip-tiny").save(tmp_path / "native")
    folder = convert(tmp_path / "native", tmp_path / "open_clip", "open_clip")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"config.json": b'{"architecture": "vit_base"}', "model.safetensors": b"a tower"}
    files |= {"pytorch_model.bin": b"a tower", "open_clip_pytorch_model.bin": b"second choice"}
    with serving(files) as hub:
        assert load(hub, tmp_path / "home", REPO) == f"loaded open_clip {COMMIT}"
        weights = {name for name in resolved(hub) if not name.endswith(".json")}
        assert weights == {"open_clip_model.safetensors"}
        assert load(hub, tmp_path / "home", REPO, offline=True) == f"loaded open_clip {COMMIT}"


def test_a_cache_that_another_program_half_filled_is_completed(served: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    repo = home / "hub" / "models--someone--model"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_bytes(served.files[name])
    assert load(served, home, REPO, COMMIT, offline=True) == f"loaded hf {COMMIT}"
    assert served.asked == []
    assert load(served, home, REPO, COMMIT) == f"loaded hf {COMMIT}"
    companions = {"preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert resolved(served) == companions
    assert {path.name for path in snapshot.iterdir()} >= companions


def test_what_the_hub_does_not_have(served: Hub, tmp_path: Path) -> None:
    said = load(served, tmp_path / "home", REPO, OLDER)
    assert said.startswith(f"UsageError {REPO} has no revision '{OLDER}'")
    said = load(served, tmp_path / "home", "someone/other")
    assert said.startswith("UsageError there is no model 'someone/other'")


def test_a_hub_that_does_not_answer(served: Hub, tmp_path: Path) -> None:
    served.shutdown()
    served.server_close()
    said = load(served, tmp_path / "home", REPO)
    assert said.startswith(f"StorageError {REPO} cannot be fetched")
    assert "local folder" in said
