"""What identifies a user's own class: its file, and the files of its folder tree that it imports."""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from vidrepro.config import ModelConfig
from vidrepro.errors import ModelError
from vidrepro.models import build_from_config
from vidrepro.models.mechanisms import external_digest, external_sources
from vidrepro.models.mechanisms.external_sources import source_files

CLASS = """
import torch
from torch import nn
{imports}

class Mine(nn.Module):
    def __init__(self, channels, frames):
        super().__init__()
    def forward(self, x):
        from own_lab.late import factor
        return factor * x
"""
FILES = {
    "own_lab/__init__.py": "",
    "own_lab/blocks/__init__.py": "WIDTH = 3\n",
    "own_lab/blocks/gate.py": CLASS.format(
        imports="from . import WIDTH\nfrom ..parts import shift\nimport own_sibling"
    ),
    "own_lab/parts/shift.py": "from .deep.more import *\n",  # parts is a namespace package
    "own_lab/parts/deep/__init__.py": "from own_lab.blocks import gate  # in a circle\n",
    "own_lab/parts/deep/more.py": "x = 1\n",
    "own_lab/late.py": "factor = 2\n",
    "own_lab/unused.py": "import own_lab.late\n",
    "own_sibling.py": "import json, numpy, vidrepro.config\ndef late():\n    import own_compiled\n",
    f"own_compiled{EXTENSION_SUFFIXES[-1]}": "\x00 not Python",
    "json.py.txt": "",
}
NOT_READ = ("own_lab/__init__.py", "own_lab/unused.py", "json.py.txt")
READ = sorted(name for name in FILES if name not in NOT_READ)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a user's own packages."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


MINE = "own_lab.blocks.gate:Mine"


def test_the_files_are_those_that_python_reads_from_the_tree(lab: Path) -> None:
    found = external_sources(MINE)
    assert found is not None and sorted(found["files"]) == READ
    assert next(iter(found["files"])) == "own_lab/blocks/gate.py"
    for name, digest in found["files"].items():
        assert digest == hashlib.sha256((lab / name).read_bytes()).hexdigest()
    assert "data files" in found["not_known"]
    assert external_sources("m2a(motion=m2a, attention=none)") is None
    assert json.dumps(found)


@pytest.mark.parametrize("name", FILES)
def test_a_change_in_one_of_them_is_another_class_and_in_no_other_file(lab: Path, name: str) -> None:
    before = external_digest(MINE)
    (lab / name).write_text(FILES[name] + "# changed\n")
    changed = external_digest(MINE) != before
    # an __init__ that was empty is read too, from the moment that something stands in it
    assert changed == (name in READ or name == "own_lab/__init__.py")


def test_the_digest_does_not_depend_on_where_the_tree_lies(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for name in FILES:
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((lab / name).read_bytes())
    here, there = (source_files("own_lab.blocks.gate", root / "own_lab/blocks/gate.py") for root in (lab, other))
    assert list(here) == list(there) and [path.read_bytes() for path in here.values()] == [
        path.read_bytes() for path in there.values()
    ]


def test_of_an_installed_package_only_the_package_itself_is_read() -> None:
    site = Path(sysconfig.get_path("purelib"))
    found = source_files("filelock", site / "filelock" / "__init__.py")
    assert len(found) > 1 and all(name.startswith("filelock/") for name in found)


def test_a_file_that_does_not_parse_counts_by_its_content(lab: Path) -> None:
    before = external_digest(MINE)
    (lab / "own_lab/late.py").write_text("factor = (\n")  # imported only when the class runs
    assert external_digest(MINE) != before


def test_a_recorded_class_is_not_replaced_by_a_changed_one(lab: Path) -> None:
    alone = hashlib.sha256((lab / "own_lab/blocks/gate.py").read_bytes()).hexdigest()
    config = {"backbone": "micro", "mechanism": MINE, "backbone_options": {"width": 8}}
    for digest in (external_digest(MINE), alone):  # runs made before recorded the class's own file alone
        build_from_config(ModelConfig(**config, mechanism_digest=digest), frames=4, classes=2)
    recorded = external_digest(MINE)
    (lab / "own_sibling.py").write_text("import json\n")
    with pytest.raises(ModelError, match=r"has changed since it was run\n(.*\n)*.*another run") as refused:
        build_from_config(ModelConfig(**config, mechanism_digest=recorded), frames=4, classes=2)
    assert "own_sibling.py" in str(refused.value)
