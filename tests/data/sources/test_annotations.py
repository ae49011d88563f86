"""What the readers of official annotations share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidrepro.data.sources.annotations import (
    Ids,
    Labels,
    check_name,
    compare_classes,
    find_file,
    find_folders,
    official_classes,
    whole_number,
)
from vidrepro.errors import DataError

HERE = (Path("list.txt"), 7)


@given(
    st.text(max_size=12) | st.sampled_from(["..", ".", "a/b", "../a", "/a", "a\\b", " a", "a\n", "-a", "_[#&;]", "~"])
)
def test_an_accepted_name_is_a_file_of_its_folder(name: str) -> None:
    try:
        check_name(name, "name", HERE)
    except DataError as error:
        assert error.where == "list.txt, line 7"
        return
    path = Path("/root/clips") / name
    assert path.parent == Path("/root/clips")
    assert path.name == name
    name.encode()
    assert "\n" not in name and "\0" not in name


@pytest.mark.parametrize("name", ["-mmq0PT-u8k_00155", "_a", "a b", "[a]#2&;!@~+()", "..a", "ü"])
def test_names_of_the_datasets_are_accepted(name: str) -> None:
    assert check_name(name, "name", HERE) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", " a", "a ", "a\tb", "\ud800", None, 7])
def test_what_could_lead_out_of_the_folder_is_refused(name: object) -> None:
    with pytest.raises(DataError):
        check_name(name, "name", HERE)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1e3", " 1", "٣", "1" * 19])
def test_numbers_are_digits_only(text: str) -> None:
    with pytest.raises(DataError, match="no whole number"):
        whole_number(text, "time", HERE)


def test_a_second_id_is_refused_with_both_places() -> None:
    ids = Ids()
    ids.add("a", (Path("one.txt"), 3))
    with pytest.raises(DataError, match="duplicate id") as caught:
        ids.add("a", (Path("two.txt"), 5))
    assert caught.value.where == "two.txt, line 5"
    assert "one.txt, line 3" in str(caught.value)


def test_a_label_must_match_exactly() -> None:
    labels = Labels(["Holding something", "Turning something"], "labels.csv")
    assert labels.of("Turning something", HERE) == 1
    for wrong in ("turning something", "Turning something ", "Turning"):
        with pytest.raises(DataError, match="unknown label") as caught:
            labels.of(wrong, HERE)
        assert "'Turning something'" in str(caught.value.hint)


def test_differences_between_class_lists() -> None:
    official = ["a", "b", "c"]
    assert compare_classes(official, official, "file", order=True) == ()
    assert compare_classes(["b", "a", "c"], official, "file", order=False) == ()
    (order,) = compare_classes(["a", "c", "b"], official, "file", order=True)
    assert "label 1 is 'c' instead of 'b'" in order
    missing, added = compare_classes(["a", "x"], official, "file", order=True)
    assert missing.startswith("2 of the 3 official classes") and "'b', 'c'" in missing
    assert added.startswith("1 classes") and "'x'" in added


def test_the_official_classes_of_something_something() -> None:
    # V2's labels.json is in this order; the pairs are those of mmaction2's flip map of V2
    classes = official_classes("something_something")
    assert len(set(classes)) == 174
    assert list(classes) == sorted(classes)
    pairs = {86: 87, 93: 94, 166: 167}
    for left, right in pairs.items():
        assert classes[left] != classes[right]
        assert set(classes[left].split()) == set(classes[right].split()) or left == 166
    assert classes[166].replace("left", "right") == classes[167]


def test_hidden_folders_links_in_a_circle_and_files_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / ".hidden" / "labels").mkdir(parents=True)
    (tmp_path / ".hidden" / "labels" / "a.txt").write_text("a")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "broken")
    assert find_file(["a.txt"], [tmp_path]) is None
    assert find_folders([tmp_path], lambda entries: sum(entry.name == "a.txt" for entry in entries)) == []
    (tmp_path / "b" / "annotations").mkdir(parents=True)
    (tmp_path / "b" / "annotations" / "a.txt").write_text("a")
    assert find_file(["a.txt"], [tmp_path, None]) == tmp_path / "b" / "annotations" / "a.txt"


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        find_folders([tmp_path / "absent"], len)
