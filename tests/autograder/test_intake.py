"""Intake: whose file, which file, and what is refused, one student at a time."""

import json
import os
import stat
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from tiny import LAB, answered, as_bytes, moodle_zip, source_notebook, zip_bytes

from autograder.errors import AutograderError
from autograder.intake import Entry, collect, kin_of, read_manifest, write_manifest
from autograder.unpack import Caps

RELEASED = source_notebook()
GOOD = as_bytes(answered(RELEASED))
OTHER = as_bytes(answered(RELEASED, {"ex-1-1-answer": "def double(x):\n    return 0"}))
KIN = kin_of(as_bytes(RELEASED))


def take(source: Path, **caps: int) -> tuple[dict[str, Entry], dict[str, bytes]]:
    entries, taken = collect(source, LAB, KIN, Caps(**caps))
    assert len({e.student for e in entries}) == len(entries)
    assert set(taken) == {e.student for e in entries if not e.rejected}
    return {e.student: e for e in entries}, taken


def codes(entry: Entry) -> set[str]:
    return {flag.code for flag in entry.flags}


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_moodle_zip_keeps_names_as_they_are(tmp_path: Path) -> None:
    names = ["Anna Ivanova", "Иванова Мария", "O'Brien, Pat", 'Ann "Bee" Cee', "007"]
    entries, taken = take(moodle_zip(tmp_path / "class.zip", dict.fromkeys(names, GOOD)))
    assert set(entries) == set(names)
    assert all(taken[name] == GOOD and entries[name].name == name for name in names)
    assert all(not entry.flags for entry in entries.values())
    assert all(datetime.fromisoformat(entry.handed_in) for entry in entries.values())


def test_two_people_with_one_name_stay_two(tmp_path: Path) -> None:
    files = {
        f"Li Wei_00{n}_assignsubmission_file_/{LAB}.ipynb": data
        for n, data in ((11, GOOD), (12, OTHER))
    }
    entries, taken = take(put(tmp_path, files))
    assert taken == {"Li Wei 0011": GOOD, "Li Wei 0012": OTHER}
    assert all(codes(e) == {"name-clash"} for e in entries.values())


@pytest.mark.parametrize(
    ("layout", "student"),
    [
        (f"submitted/042/{LAB}/{LAB}.ipynb", "042"),
        (f"042/{LAB}/{LAB}.ipynb", "042"),
        (f"petrov/{LAB}.ipynb", "petrov"),
        (f"petrov_{LAB}.ipynb", "petrov"),
        (f"{LAB}-petrov.ipynb", "petrov"),
        ("petrov.ipynb", "petrov"),
        (f"Ann Lee_77_assignsubmission_file_{LAB}.ipynb", "Ann Lee"),
        (f"leeann_LATE_77_1234_{LAB}-2.ipynb", "leeann"),
    ],
)
def test_layouts(tmp_path: Path, layout: str, student: str) -> None:
    assert set(take(put(tmp_path, {layout: GOOD}))[1]) == {student}


def test_an_outer_folder_is_no_student(tmp_path: Path) -> None:
    files = {f"Lab one/{who}/{LAB}.ipynb": GOOD for who in ("ann", "bob")}
    assert set(take(put(tmp_path, files))[0]) == {"ann", "bob"}


def test_newest_of_two_is_taken_and_flagged(tmp_path: Path) -> None:
    put(tmp_path, {f"ann/{LAB}.ipynb": OTHER, f"ann/{LAB} (1).ipynb": GOOD})
    os.utime(tmp_path / "ann" / f"{LAB}.ipynb", (1, 1))
    entries, taken = take(tmp_path)
    assert taken["ann"] == GOOD
    assert codes(entries["ann"]) == {"several-files", "renamed"}


def test_readable_older_file_is_better_than_a_broken_new_one(tmp_path: Path) -> None:
    put(tmp_path, {f"ann/{LAB}.ipynb": GOOD, f"ann/{LAB}-Copy1.ipynb": GOOD[:500]})
    os.utime(tmp_path / "ann" / f"{LAB}.ipynb", (1, 1))
    entries, taken = take(tmp_path)
    assert taken["ann"] == GOOD
    assert "cut off" in next(f.detail for f in entries["ann"].flags if f.code == "file-skipped")


def test_a_renamed_notebook_is_known_by_its_cells(tmp_path: Path) -> None:
    stranger = json.dumps({"cells": [{"cell_type": "code", "source": "1"}]}).encode()
    put(tmp_path, {"ann/homework.ipynb": GOOD, "bob/homework.ipynb": stranger})
    entries, taken = take(tmp_path)
    assert set(taken) == {"ann"}
    assert codes(entries["ann"]) == {"renamed"}
    assert f"expected {LAB}.ipynb" in entries["bob"].rejected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "saved web page"),
        (b"\x89PNG\r\n\xff\xfe", "not text"),
        (b"hello", "starts with 'hello'"),
        (GOOD[:700], "cut off"),
        (b"[1, 2]", "holds a list"),
        (b'{"a": 1}', "no list of cells"),
        (b"[" * 100_000, "is not a notebook"),
        (b'{"cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> x\n]}', "git merge"),
    ],
)
def test_broken_files_are_refused_in_words_and_alone(
    tmp_path: Path, data: bytes, words: str
) -> None:
    entries, taken = take(moodle_zip(tmp_path / "c.zip", {"Bad": data, "Good": GOOD}))
    assert words in entries["Bad"].rejected
    assert taken == {"Good": GOOD}


def test_nothing_but_a_report(tmp_path: Path) -> None:
    put(tmp_path, {"ann/report.pdf": b"%PDF", f"bob/{LAB}.ipynb": GOOD, "grades.csv": b"x"})
    entries, _ = take(tmp_path)
    assert set(entries) == {"ann", "bob"}
    assert "only report.pdf" in entries["ann"].rejected


def test_junk_is_not_a_student(tmp_path: Path) -> None:
    junk = {"__MACOSX/ann/._x": b"x", ".DS_Store": b"x", "ann/.ipynb_checkpoints/a.ipynb": OTHER}
    entries, taken = take(put(tmp_path, {f"ann/{LAB}.ipynb": GOOD, **junk}))
    assert set(entries) == {"ann"}
    assert taken["ann"] == GOOD
    assert not entries["ann"].flags


def test_special_files_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {f"good/{LAB}.ipynb": GOOD})
    for who in ("fifo", "folder", "link"):
        (tmp_path / who).mkdir()
    os.mkfifo(tmp_path / "fifo" / f"{LAB}.ipynb")
    (tmp_path / "folder" / f"{LAB}.ipynb").mkdir()
    (tmp_path / "link" / f"{LAB}.ipynb").symlink_to(tmp_path / "good" / f"{LAB}.ipynb")
    entries, taken = take(tmp_path)
    assert set(taken) == {"good"}
    assert "pipe" in entries["fifo"].rejected
    assert "is a folder" in entries["folder"].rejected
    assert "is a link" in entries["link"].rejected


def _zip_with_link(name: str, target: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def test_dangerous_zip_members_are_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"good/{LAB}.ipynb", GOOD)
        archive.writestr(f"../../up/{LAB}.ipynb", GOOD)
        archive.writestr(f"/abs/{LAB}.ipynb", GOOD)
        archive.writestr(f"C:\\win\\{LAB}.ipynb", GOOD)
        archive.writestr(*_zip_with_link(f"link/{LAB}.ipynb", b"/etc/passwd"))
        archive.writestr(f"bomb/{LAB}.ipynb", b" " * 10_000_000)
        archive.writestr(f"big/{LAB}.ipynb", os.urandom(3_000_000))
    before = sorted(tmp_path.parent.rglob("*"))
    entries, taken = take(path, file_bytes=2_000_000)
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert taken == {"good": GOOD}
    assert "outside" in entries["up"].rejected
    assert "outside" in entries["abs"].rejected
    assert "outside" in entries["win"].rejected
    assert "link" in entries["link"].rejected
    assert "from almost nothing" in entries["bomb"].rejected
    assert "too large" in entries["big"].rejected


def test_a_lying_size_is_caught_while_reading(tmp_path: Path) -> None:
    data = zip_bytes({f"liar/{LAB}.ipynb": b"[" + b"1," * 40_000 + b"1]"})
    # Both headers claim ten bytes.
    size = (80_003).to_bytes(4, "little")
    assert data.count(size) == 2
    (tmp_path / "c.zip").write_bytes(data.replace(size, (10).to_bytes(4, "little")))
    entries, taken = take(tmp_path / "c.zip", file_bytes=1000)
    assert not taken
    assert entries["liar"].rejected


def test_zips_of_students_are_opened_but_not_without_end(tmp_path: Path) -> None:
    inner = zip_bytes({f"{LAB}.ipynb": GOOD})
    deep = inner
    for _ in range(4):
        deep = zip_bytes({"more.zip": deep})
    put(tmp_path, {"ann/work.zip": inner, "bob.zip": inner, "deep/x.zip": deep, "eve/x.rar": b"R"})
    put(tmp_path, {"fay/broken.zip": b"PK\x03\x04 nothing"})
    entries, taken = take(tmp_path)
    assert set(taken) == {"ann", "bob"}
    assert "archive inside an archive" in entries["deep"].rejected
    assert ".rar" in entries["eve"].rejected
    assert "zip" in entries["fay"].rejected


def test_one_crowded_or_empty_zip_does_not_stop_the_class(tmp_path: Path) -> None:
    crowd = zip_bytes({f"{n}.txt": b"" for n in range(30)})
    twice = zip_bytes({"a.zip": crowd, "b.zip": crowd})
    files = {"crowd/x.zip": crowd, "twice/x.zip": twice, "empty/x.zip": zip_bytes({})}
    put(tmp_path, {**files, f"good/{LAB}.ipynb": GOOD, f"late/{LAB}.ipynb": GOOD})
    entries, taken = take(tmp_path, files=40, own_files=20)
    assert set(taken) == {"good", "late"}
    assert "holds 30 files, at most 20 are looked at" in entries["crowd"].rejected
    assert "holds 30 files" in entries["twice"].rejected
    assert "x.zip is empty" in entries["empty"].rejected


def test_names_in_a_students_zip_are_not_believed(tmp_path: Path) -> None:
    """Nobody hands in for somebody else, or takes a file out of the list."""
    names = (f"bob_7_assignsubmission_file_/{LAB}.ipynb", f"bob/{LAB}/{LAB}.ipynb")
    for number, name in enumerate(names):
        put(tmp_path, {f"eve{number}/x.zip": zip_bytes({name: OTHER}), f"bob/{LAB}.ipynb": GOOD})
        put(tmp_path, {f"flat{number}.zip": zip_bytes({name: OTHER})})
    entries, taken = take(tmp_path)
    assert taken["bob"] == GOOD
    assert set(entries) == {"bob", "eve0", "eve1", "flat0", "flat1"}
    assert all(taken[student] == OTHER for student in entries if student != "bob")


def test_a_class_in_one_archive_inside_a_folder(tmp_path: Path) -> None:
    moodle_zip(tmp_path / "class.zip", {"Ann": GOOD, "Bob": OTHER})
    assert take(tmp_path)[1] == {"Ann": GOOD, "Bob": OTHER}


def test_who_handed_in_only_hidden_files_is_in_the_list(tmp_path: Path) -> None:
    put(tmp_path, {"ann/.DS_Store": b"x", "bob/.ipynb_checkpoints/a.ipynb": GOOD})
    put(tmp_path, {f".dot_1_assignsubmission_file_/{LAB}.ipynb": GOOD, f"c/{LAB}.ipynb": GOOD})
    entries, taken = take(tmp_path)
    assert set(taken) == {"_.dot", "c"}
    assert "only hidden files" in entries["ann"].rejected
    assert "only hidden files" in entries["bob"].rejected


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"nbformat": 3}, {"old-format"}),
        ({"metadata": {"kernelspec": {"name": "ir", "language": "R"}}}, {"kernel-changed"}),
        ({"metadata": {"kernelspec": {"name": "conda-env-ml", "language": "python"}}}, set()),
        ({"metadata": {"kernelspec": {"name": "xpython"}}}, set()),
        ({"nbformat": True, "metadata": []}, set()),
    ],
)
def test_formats_and_kernels(tmp_path: Path, change: dict, flags: set[str]) -> None:
    data = json.dumps({**json.loads(GOOD), **change}).encode()
    put(tmp_path, {f"ann/{LAB}.ipynb": data})
    assert codes(take(tmp_path)[0]["ann"]) == flags


def test_endless_text_is_refused(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": "x = 1\n" * 40_000}] * 15
    put(tmp_path, {f"ann/{LAB}.ipynb": json.dumps({"cells": cells}).encode()})
    assert "MB of text" in take(tmp_path)[0]["ann"].rejected


def test_cyrillic_without_the_flag_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"Ivan/{LAB}.ipynb", GOOD)
    name, foreign = b"Ivan", "Ив".encode()
    path.write_bytes(path.read_bytes().replace(name, foreign))
    assert set(take(path)[0]) == {"Ив"}


def test_timestamps(tmp_path: Path) -> None:
    for who, text in (("ann", b"2025-03-01 12:00:00 UTC"), ("bob", b"tomorrow-ish")):
        put(tmp_path, {f"{who}/{LAB}/{LAB}.ipynb": GOOD, f"{who}/{LAB}/timestamp.txt": text})
    entries, _ = take(tmp_path)
    assert entries["ann"].handed_in == "2025-03-01 12:00:00"
    assert not entries["ann"].flags
    assert entries["bob"].handed_in == ""
    assert codes(entries["bob"]) == {"bad-timestamp"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "nowhere", "does not exist"),
        (lambda p: put(p, {"a.zip": b"no"}) / "a.zip", "neither a folder nor a zip"),
        (lambda p: put(p, {"a.rar": b"R"}) / "a.rar", "make it a .zip"),
        (lambda p: p, "holds no files"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, make, words: str) -> None:
    with pytest.raises(AutograderError, match=words):
        take(make(tmp_path))


def test_a_folder_without_end_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {f"{n}/{LAB}.ipynb": GOOD for n in range(12)})
    with pytest.raises(AutograderError, match="more than 10 files"):
        take(tmp_path, files=10)


def test_manifest_round_trip(tmp_path: Path) -> None:
    put(tmp_path / "in", {f"ann/{LAB} (1).ipynb": GOOD, f"bob/{LAB}.ipynb": b"x"})
    entries = list(take(tmp_path / "in")[0].values())
    write_manifest(tmp_path / "m.json", LAB, entries)
    assert read_manifest(tmp_path / "m.json") == entries
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(AutograderError, match="damaged"):
        read_manifest(tmp_path / "m.json")
    with pytest.raises(AutograderError, match="autograder collect"):
        read_manifest(tmp_path / "none.json")
