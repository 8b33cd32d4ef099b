"""`import seesay` and `seesay --help` stay light, whatever else the package can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from repo.source_tree import ROOT

HEAVY = {"torch", "numpy", "PIL", "transformers", "safetensors", "tokenizers", "rich", "pyarrow"}
HELP_SECONDS = 2.0
"""The promise is half a second on an idle machine; a test shares its machine with others."""


def imported_by(code: str) -> set[str]:
    """Top-level names of the modules in memory after a fresh interpreter ran `code`."""
    report = "\nimport json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    return set(json.loads(run(code + report).splitlines()[-1]))


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import seesay; seesay.__version__",
        "import seesay; assert 'clip-tiny' in seesay.list_models()",
        "import seesay.registry; seesay.registry.families()",
        "import seesay.errors, seesay.types, seesay.protocols, seesay.config, seesay.tasks.task",
        "from seesay.cli.main import run; assert run(['--help']) == 0",
        "from seesay.cli.main import run; assert run(['--version']) == 0",
        "from seesay.cli.main import run; assert run(['search', '--help']) == 0",
        "from seesay.cli.main import run; assert run(['classify', '--help']) == 0",
        "from seesay.cli.main import run; assert run(['no-such-command']) == 2",
        "from seesay.cli.main import run; assert run(['models']) == 0",
    ],
)
def test_nothing_slow_is_imported_by(code: str) -> None:
    assert not imported_by(code) & HEAVY


def test_completion_of_commands_and_models_is_light() -> None:
    code = (
        "import os; os.environ.update(_SEESAY_COMPLETE='bash_complete', COMP_CWORD='3',"
        " COMP_WORDS='seesay embed --model cli')\n"
        "from seesay.cli.main import cli\n"
        "try: cli.main(prog_name='seesay')\n"
        "except SystemExit: pass\n"
    )
    assert not imported_by(code) & HEAVY


def test_help_answers_at_once() -> None:
    code = "from seesay.cli.main import main; main(['--help'])"
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        run(code)
        best = min(best, time.perf_counter() - start)
    assert best < HELP_SECONDS


def test_the_package_needs_none_of_its_extras_to_be_imported() -> None:
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'pyarrow', 'resvg_py', 'transformers', 'faiss',\n"
        "                                  'torchvision', 'timm', 'open_clip', 'openvino'}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import seesay\n"
        "model = seesay.create('clip-tiny')\n"
        "assert model.embed_texts(['a', 'b']).shape[0] == 2\n"
    )
    run(code)
