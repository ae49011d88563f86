"""One class writes run.json and reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidrepro.errors import ResultsError
from vidrepro.runs.folder import RUN_FILE
from vidrepro.runs.record import is_finished, read_record, read_run, write_record

COMMITTED = Path(__file__).parent.parent.parent / "results" / "runs"


def test_a_record_is_written_as_it_was_read(tmp_path: Path) -> None:
    """Every committed one, to the last key: nothing is lost, added, or changed."""
    folders = sorted(path.parent for path in COMMITTED.glob(f"*/{RUN_FILE}"))
    assert len(folders) > 100
    for folder in folders:
        record, config = read_record(folder)
        assert config.fingerprint == record.config_fingerprint
        write_record(tmp_path, record)
        assert json.loads((tmp_path / RUN_FILE).read_text()) == json.loads((folder / RUN_FILE).read_text())


def test_what_another_version_wrote_is_kept(tmp_path: Path) -> None:
    folder = next(COMMITTED.iterdir())
    content = json.loads((folder / RUN_FILE).read_text())
    content["best"]["outputs"] = {"total": {"clips": 8, "top1": 50.0, "top1_correct": 4, "new": 1}}
    content["dataset"]["newer"] = {"a": [1]}
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    write_record(tmp_path, read_record(tmp_path)[0])
    assert json.loads((tmp_path / RUN_FILE).read_text()) == content


def test_a_folder_without_a_record_is_not_finished_and_a_damaged_record_is_refused(tmp_path: Path) -> None:
    assert not is_finished(tmp_path)
    with pytest.raises(ResultsError, match="record cannot be read"):
        read_record(tmp_path)
    for text in ('{"id": 3', "[]", "\udcff"):
        (tmp_path / RUN_FILE).write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ResultsError, match="record cannot be read"):
            is_finished(tmp_path)


@pytest.mark.parametrize("config", [{}, {"model": {}, "data": {}}, {"model": 3, "data": {}, "train": {}}])
def test_a_record_without_settings_is_refused_by_what_is_missing(tmp_path: Path, config: object) -> None:
    content = json.loads((next(COMMITTED.iterdir()) / RUN_FILE).read_text()) | {"config": config}
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"no settings under (model|train)"):
        read_run(tmp_path / RUN_FILE)
