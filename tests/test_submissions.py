"""What students send, as it comes: nothing stops the reading, and each oddity is told."""

import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile

import pytest

from privlab.grading import submissions
from privlab.grading.submissions import Student, collect, owner, read_roster

ROSTER = [
    Student("s001", "Ada Marsh", "ada@x.example"),
    Student("s002", "Bo Åkesson"),
    Student("s003", "Ada Marshall"),
    Student("s010", "Cher"),
    Student("s011", "Jan van der Berg"),
    Student("01"),
    Student("07"),
    Student("start"),
]


def page(*code, lesson="03", **more):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": f"# {lesson} · Title"}]
    cells += [
        {"cell_type": "code", "metadata": {}, "source": source, "outputs": [],
         "execution_count": None}
        for source in (f'privlab.start("{lesson}")', *code)
    ]  # fmt: skip
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}


def text(*code, **more):
    return json.dumps(page(*code, **more))


def only(folder, roster=None):
    (found,) = collect(folder, roster)
    return found


def zipped(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return file.getvalue()


# ---------------------------------------------------------------- the class list


@pytest.mark.parametrize(
    "body",
    [
        "id,name\ns1,Ada\n",
        "\ufeffid;name\ns1;Ada\n",
        "ID\tName\n s1 \t Ada \n\n",
        "name,id\nAda,s1\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_rosters(tmp_path, body, encoding):
    (tmp_path / "r.csv").write_text(body, encoding=encoding)
    assert read_roster(tmp_path / "r.csv") == [Student("s1", "Ada")]


@pytest.mark.parametrize("last", ["Last name", "Surname"])
def test_a_roster_of_moodle(tmp_path, last):
    body = f'"First name","{last}","ID number","Email address"\nAda,"Marsh, Lady",s1,a@x.example\n'
    (tmp_path / "r.csv").write_text(body, encoding="utf-8-sig")
    (ada,) = read_roster(tmp_path / "r.csv")
    assert ada == Student("s1", "Ada Marsh, Lady", "a@x.example")


def test_a_gradebook_of_canvas(tmp_path):
    """As Canvas exports it: its "ID" is a number of its own; two lines are nobody's."""
    body = (
        "Student,ID,SIS User ID,SIS Login ID,Section,01 (99)\n"
        "    Points Possible,,,,,7\n"
        '"Marsh, Ada",1234,s1,ada,A,\n"van der Berg, Jan",1235,s2,jan,A,\n'
        '"Student, Test",1236,,abc,A,\n'
    )
    (tmp_path / "r.csv").write_text(body, encoding="utf-8-sig")
    assert read_roster(tmp_path / "r.csv") == [
        Student("s1", "Ada Marsh"),
        Student("s2", "Jan van der Berg"),
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "needs a column 'id'"),
        (b"name\nAda\n", "needs a column 'id'"),
        (b"id\n", "no students"),
        (b"id\ns1\nS1\n", "stands twice"),
        (b"id\n../x\n", "line 2 .* has the id '../x'"),
        (b"id,name\n,Ada\n", "Ada has no 'id' in line 2"),
        (b"Vorname,ID-Nummer\nAda,s1\n", "it has 'vorname', 'id-nummer': rename them"),
        (b'Student,ID,SIS User ID\n"Marsh, Ada",99,\n', "Ada Marsh has no 'SIS User ID'"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("id,name\ns1,Åsa\n".encode("cp1252"), "not saved as UTF-8 .in Excel: Save As, CSV UTF-8"),
    ],
)
def test_rosters_that_are_none(tmp_path, body, told):
    (tmp_path / "r.csv").write_bytes(body)
    with pytest.raises(ValueError, match=told):
        read_roster(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("place", "who"),
    [
        ("s001/03.ipynb", "s001"),
        ("03_s002_final (2).ipynb", "s002"),
        ("Ada Marsh_4711_assignsubmission_file_/lesson.ipynb", "s001"),  # Moodle
        ("marshada_99_1234_03_differential_privacy.ipynb", "s001"),  # Canvas
        ("akessonbo_99_1234_x.ipynb", "s002"),
        ("Bo Akesson/x.ipynb", "s002"),
        ("Ada Marshall/s001.ipynb", "s003"),  # what is further in, the student has named
        ("s003/x.zip/s001/x.ipynb", "s003"),
        ("marshada_99_1234_s002.ipynb", "s001"),
        ("marshada_LATE_99_1234_s002.ipynb", "s001"),
        ("vanderbergjan_99_1234_x.ipynb", "s011"),
        ("cher_99_1234_x.ipynb", "s010"),
        ("Ada Marsh_7_assignsubmission_file_s002.ipynb", "s001"),
        # Somebody who is not in the class: their number, and what they have named, tell nothing.
        ("Cem Oz_07_assignsubmission_file_/s001.ipynb", None),
        ("Ada Marsh Bell_7_assignsubmission_file_/x.ipynb", None),
        ("ozcem_07_1234_s001.ipynb", None),
        ("adamarshal_99_1234_x.ipynb", None),
        ("Ada Marshal/x.ipynb", None),
        ("Ada Marsh_s001/x.ipynb", "s001"),
        ("s0010/x.ipynb", None),
        ("s001 s002/x.ipynb", None),
        ("Ada/x.ipynb", None),
        ("x.ipynb", None),
        ("01_reidentification.ipynb", None),
        ("07/01_reidentification (2).ipynb", "07"),
        ("00_start_here.ipynb", None),
    ],
)
def test_owner(place, who):
    found = owner(place, ROSTER)
    assert (found and found.id) == who


# ---------------------------------------------------------------- notebooks

CODE = "def f(x):\n    return x"


@pytest.mark.parametrize(
    "body",
    [
        text(CODE).encode(),
        b"\xef\xbb\xbf" + text(CODE).encode(),
        text(CODE).encode("utf-16"),
        text(CODE).replace("\\n", "\\r\\n").encode(),
        text(CODE.splitlines(keepends=True)).encode(),
        text(CODE, metadata={"kernelspec": {"name": "xeus"}, "widgets": 3}).encode(),
        text(CODE, nbformat_minor=0).encode(),
        text(CODE, extra=1).encode(),
    ],
    ids=["as is", "BOM", "UTF-16", "CRLF", "lines", "other kernel", "old minor", "extra"],
)
def test_forms_of_a_notebook(tmp_path, body):
    (tmp_path / "x.ipynb").write_bytes(body)
    found = only(tmp_path)
    assert not found.problem
    assert found.cells[-1] == CODE
    assert found.lesson == "03"


def test_an_old_format(tmp_path):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {"cells": [
                {"cell_type": "code", "language": "python", "input": CODE, "outputs": []},
                {"cell_type": "heading", "level": 2, "source": ["Question a.1 ·", " Why"]}]},
            {"cells": [{"cell_type": "markdown", "source": "Because."}]},
        ],
    }  # fmt: skip
    (tmp_path / "03_differential_privacy (1).ipynb").write_text(json.dumps(old))
    found = only(tmp_path)
    assert (found.lesson, found.cells) == ("03", (CODE,))
    assert found.words == {"a.1": "Because."}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\x89PNG\r\n\x1a\n", "no text in UTF-8"),
        (b"print(1)", "no notebook"),
        (b"[1]", "no notebook: it has no cells"),
        (b'{"a": 1}', "no notebook: it has no cells"),
        (b'{"cells": 3, "nbformat": 4}', "no notebook"),
        (b'{"cells": [3], "nbformat": 4}', "no notebook"),
        (b'{"cells": [{"cell_type": "code"', "no notebook"),
        (b"[" * 200_000, "nested too deeply|no notebook"),
        (b" " * (submissions.MAX_NOTEBOOK + 1), "up to 20 MB are read"),
    ],
)
def test_what_is_no_notebook(tmp_path, body, told):
    (tmp_path / "03_differential_privacy.ipynb").write_bytes(body)
    (tmp_path / "z.ipynb").write_text(text(CODE))
    bad, good = collect(tmp_path)
    assert not good.problem
    assert bad.lesson == "03"
    with pytest.raises(ValueError, match=told):
        raise ValueError(bad.problem)


@pytest.mark.parametrize(
    ("source", "place", "lesson"),
    [
        ('privlab.start("05")', "x.ipynb", "05"),
        ("from privlab.exercises.lesson_07 import q1", "x.ipynb", "07"),
        ("x = 1", "04_privacy_budget-2.ipynb", "04"),
        ("x = 1", "x.ipynb", ""),
        ('privlab.start("77")', "x.ipynb", ""),
    ],
)
def test_which_lesson(source, place, lesson):
    assert submissions.which_lesson(source, place) == lesson


@pytest.mark.parametrize(
    ("metadata", "code", "stamp", "started"),
    [
        ({"privlab": {"assignment": "abc"}}, "x = 1", "abc", ()),
        ({}, 'privlab.start("03", assignment="03:bo:1:f")', "03:bo:1:f", ("03:bo:1:f",)),
        ({}, "privlab.start(\n    '03',\n    assignment = '03:bo:1:f'\n)", "03:bo:1:f",
         ("03:bo:1:f",)),
        ({"privlab": {"assignment": "abc"}}, "privlab.start('03', assignment='d')\n" * 2, "abc",
         ("d",)),
        ({"privlab": {"assignment": [[]]}}, "start(assignment='d')", "", ()),
        ({"privlab": 3}, "privlab.start('03')\nf(assignment='d')", "", ()),
    ],
)  # fmt: skip
def test_the_stamp_is_read(tmp_path, metadata, code, stamp, started):
    """From the metadata and from the cell that starts the lesson."""
    (tmp_path / "x.ipynb").write_text(text(code, metadata=metadata))
    found = only(tmp_path)
    assert (found.stamp, found.started) == (stamp, started)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("moodle.zip/Ada Marsh_7_assignsubmission_file_/a/b.ipynb", "a/b.ipynb"),
        ("Ada Marsh_7_assignsubmission_file_b.ipynb", "b.ipynb"),
        ("marshada_99_1234_b.ipynb", "b.ipynb"),
        ("Cem Oz/s001/b.ipynb", "b.ipynb"),
        ("Cem Oz/b.ipynb", "b.ipynb"),
        ("s001_b.ipynb", "s001_b.ipynb"),
        ("s001.zip/b.ipynb", "b.ipynb"),
    ],
)
def test_a_student_reads_no_name_of_anothers_folder(place, shown):
    assert submissions.within(place, ROSTER[0]) == shown


# ---------------------------------------------------------------- folders and zip files


def test_folders_zips_and_clutter(tmp_path):
    (tmp_path / "s001").mkdir()
    (tmp_path / "s001" / "a.ipynb").write_text(text(CODE))
    (tmp_path / "s001" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "s001" / ".ipynb_checkpoints" / "a.ipynb").write_text(text(CODE))
    (tmp_path / "s001" / "notes.txt").write_text("hello")
    inner = zipped({"deep/b.ipynb": text(CODE)})
    (tmp_path / "all.zip").write_bytes(
        zipped({"s002/b.ipynb": text(CODE), "__MACOSX/s002/._b.ipynb": b"x",
                "s003.zip": inner})
    )  # fmt: skip
    found = collect(tmp_path, ROSTER)
    assert [(each.place, each.student.id, each.problem) for each in found] == [
        ("all.zip/s002/b.ipynb", "s002", ""),
        ("all.zip/s003.zip/deep/b.ipynb", "s003", ""),
        ("s001/a.ipynb", "s001", ""),
        ("s001/notes.txt", "s001", "it is no notebook (.ipynb) and no zip file"),
    ]
    assert [each.other for each in found] == [False, False, False, True]


def test_names_that_browsers_and_mail_programs_make(tmp_path):
    (tmp_path / "s001.ipynb.txt").write_text(text(CODE))
    (tmp_path / "s002.zip").write_bytes(zipped({"a.ipynb.json": text(CODE)}))
    for roster in (ROSTER, None):
        found = collect(tmp_path, roster)
        assert [(each.student.id, each.lesson, each.problem) for each in found] == [
            ("s001", "03", ""),
            ("s002", "03", ""),
        ]


def test_other_files_are_told_but_not_without_end(tmp_path):
    many = {f"env/{i}.py": "x" for i in range(50)}
    (tmp_path / "s001.zip").write_bytes(zipped(many | {"03.pdf": "%PDF"}))
    (tmp_path / "s002").mkdir()
    (tmp_path / "s002" / "03_differential_privacy.py").write_text(CODE)
    (tmp_path / "README.md").write_text("read me")
    for roster in (ROSTER, None):
        found = collect(tmp_path, roster)
        assert all(each.other and not each.lesson and not each.cells for each in found)
        whose = [each.student.id if each.student else None for each in found]
        assert whose == [None, *["s001"] * submissions.MAX_OTHERS, "s002"]


def test_without_a_roster_a_folder_or_a_file_is_somebody(tmp_path):
    (tmp_path / "Ada Marsh").mkdir()
    (tmp_path / "Ada Marsh" / "a.ipynb").write_text(text(CODE))
    (tmp_path / "bo.ipynb").write_text(text(CODE))
    assert [each.student.id for each in collect(tmp_path)] == ["Ada_Marsh", "bo"]
    assert only(tmp_path / "bo.ipynb").student.id == "bo"


def test_no_name_leads_out_of_a_zip_file(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"../../s001.ipynb": text(CODE), "/s002.ipynb": "{"}))
    before = set(tmp_path.parent.rglob("*"))
    places = [each.place for each in collect(tmp_path)]
    assert sorted(places) == ["x.zip/s001.ipynb", "x.zip/s002.ipynb"]
    assert set(tmp_path.parent.rglob("*")) == before


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.ipynb").write_text(text(CODE))
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "a.ipynb").symlink_to(outside / "secret.ipynb")
    (sent / "folder").symlink_to(outside)
    (sent / "gone.ipynb").symlink_to(outside / "nothing")
    link = zipfile.ZipInfo("l.ipynb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(sent / "z.zip", "w") as archive:
        archive.writestr(link, "../outside/secret.ipynb")
    found = collect(sent)
    assert {each.place for each in found} == {"a.ipynb", "gone.ipynb", "z.zip/l.ipynb"}
    assert all("a link" in each.problem for each in found)


def test_zip_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_NOTEBOOK", 200_000)
    monkeypatch.setattr(submissions, "MAX_UNPACKED", 1_000_000)
    (tmp_path / "a.zip").write_bytes(zipped({"x.ipynb": bytes(150_000_000)}))
    (tmp_path / "b.zip").write_bytes(
        zipped({f"{i}.ipynb": b" " * 150_000 for i in range(20)} | {"z.ipynb": text(CODE)})
    )
    bomb = zipped({"x.ipynb": text(CODE)})
    for _ in range(4):
        bomb = zipped({"inner.zip": bomb})
    (tmp_path / "c.zip").write_bytes(bomb)
    (tmp_path / "d.ipynb").write_text(text(CODE))
    found = {each.place: each.problem for each in collect(tmp_path)}
    assert "are read" in found["a.zip/x.ipynb"]
    assert sum("more than 1 MB were sent" in why for why in found.values()) == 15
    # Without a roster a file is somebody's; in a zip file of everybody there may be one more.
    assert "unpack it once" in found["c.zip/inner.zip/inner.zip"]
    (deepest,) = collect(tmp_path / "c.zip")
    assert deepest.place == "c.zip/inner.zip/inner.zip/inner.zip"
    assert "unpack it once" in deepest.problem
    assert found["d.ipynb"] == ""


def test_a_zip_bomb_costs_nobody_else(tmp_path, monkeypatch):
    """Of a class in one file one student sends too much, in many files and in zip files in it."""
    monkeypatch.setattr(submissions, "MAX_UNPACKED", 1_000_000)
    large = zipped({f"{i}.ipynb": b" " * 900_000 for i in range(5)})
    bombs = {f"s001/{i}.zip": large for i in range(20)}
    honest = {f"s{i:03}/x.ipynb": text(CODE) for i in (2, 3)}
    (tmp_path / "class.zip").write_bytes(zipped(bombs | honest))
    found = collect(tmp_path, ROSTER)
    assert [each.student.id for each in found if not each.problem] == ["s002", "s003"]
    assert any("more than 1 MB were sent" in each.problem for each in found)


def test_without_a_roster_a_zip_bomb_costs_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_UNPACKED", 1_000_000)
    bomb = {f"ada/{i}.ipynb": b" " * 900_000 for i in range(3)}
    (tmp_path / "class.zip").write_bytes(zipped(bomb | {"bo/x.ipynb": text(CODE)}))
    *_, bo = collect(tmp_path / "class.zip")
    assert (bo.student.id, bo.problem) == ("bo", "")


def unreadable(folder, told, roster=ROSTER):
    """Of two students' files those of s001 cannot be read, for the reason that is told."""
    *bad, good = collect(folder, roster)
    assert (good.student.id, good.problem, good.cells[-1]) == ("s002", "", CODE)
    assert bad
    for each in bad:
        assert each.student.id == "s001"
        assert told in each.problem


@pytest.fixture
def class_of_two(tmp_path):
    for who in ("s001", "s002"):
        (tmp_path / who).mkdir()
    (tmp_path / "s002" / "a.ipynb").write_text(text(CODE))
    return tmp_path


def tiny_objects(number):
    return text(CODE).removesuffix("}") + ', "x": [' + '{"": {}},' * number + "0]}"


READ = """
import sys
from pathlib import Path
from privlab.grading import submissions

submissions.MEMORY = 100 << 20
students = [submissions.Student("s001"), submissions.Student("s002")]
for each in submissions.collect(Path(sys.argv[1]), students):
    print(each.student.id, each.problem or "read")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory has no such limit")
@pytest.mark.parametrize(
    ("number", "told"), [(600_000, "s001 reading it takes too much memory"), (60_000, "s001 read")]
)
def test_a_notebook_of_many_tiny_objects(class_of_two, number, told):
    """It takes thirty times its size; and where that is allowed, no more.

    In a process of its own: what this one's other tests have freed, its children could fill before
    they ask for more.
    """
    (class_of_two / "s001" / "a.ipynb").write_text(tiny_objects(number))
    program = [sys.executable, "-c", READ, str(class_of_two)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [told, "s002 read"]


@pytest.mark.parametrize("where", ["x", "metadata", "cells"])
def test_a_notebook_that_is_nested_deeply(class_of_two, where):
    deep = json.dumps(page() | {where: "deep"}).replace('"deep"', "[" * 50_000 + "]" * 50_000)
    (class_of_two / "s001" / "a.ipynb").write_text(deep)
    unreadable(class_of_two, "nested too deeply")


def many_entries(number, says):
    """Return a zip file with so many entries, all of the same file, whose end says another."""
    raw = zipped({"a.ipynb": text(CODE)})
    start, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    entries = raw[start:end] * number
    return raw[:start] + entries + struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, says, says, len(entries), start, 0
    )  # fmt: skip


@pytest.mark.parametrize("says", [1, 0xFFFF])
def test_a_zip_file_of_a_million_entries(class_of_two, says):
    bomb = many_entries(1_000_000, says)
    assert len(bomb) < submissions.MAX_UNPACKED
    (class_of_two / "s001" / "a.zip").write_bytes(bomb)
    unreadable(class_of_two, "too many files")
    with zipfile.ZipFile(class_of_two / "class.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s001/a.zip", bomb)
        archive.write(class_of_two / "s002" / "a.ipynb", "s002/a.ipynb")
    unreadable(class_of_two / "class.zip", "too many files")
    (class_of_two / "s001" / "a.zip").write_bytes(many_entries(3, says))
    assert len(collect(class_of_two / "s001")) == 3


def test_a_zip_file_of_everybody_with_a_million_entries(tmp_path):
    (tmp_path / "class.zip").write_bytes(many_entries(1_000_000, 1))
    for folder in (tmp_path, tmp_path / "class.zip"):
        assert "too many files" in only(folder, ROSTER).problem


def test_huge_zip_files(class_of_two):
    """They are told by their size, and take none on this disk."""
    for path, size in {"all.zip": submissions.MAX_OF_ALL, "s001/a.zip": 10**9}.items():
        with (class_of_two / path).open("wb") as file:
            file.truncate(size + 1)
    everybodys, *_ = collect(class_of_two, ROSTER)
    assert everybodys.place == "all.zip"
    assert "it has 10,000 MB; up to 10,000 MB are read" in everybodys.problem
    (class_of_two / "all.zip").unlink()
    unreadable(class_of_two, "more than 100 MB were sent")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression(class_of_two, kind):
    """Of these Python unpacks all that a few bytes hold at once, however much it is."""
    with zipfile.ZipFile(class_of_two / "s001" / "a.zip", "w", kind) as archive:
        archive.writestr("a.ipynb", text(CODE))
    unreadable(class_of_two, "make an ordinary zip file")


def test_a_file_of_a_zip_file_that_is_damaged_costs_only_itself(tmp_path):
    raw = bytearray(zipped({"s001/a.ipynb": text(CODE), "s002/b.ipynb": text(CODE)}))
    raw[60] ^= 0xFF
    (tmp_path / "class.zip").write_bytes(raw)
    unreadable(tmp_path / "class.zip", "it cannot be read")
    (tmp_path / "s002.zip").write_bytes(raw)
    first, second = collect(tmp_path / "s002.zip")
    assert first.problem
    assert not second.problem


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_reading_that_does_not_end_costs_one_sender(class_of_two, monkeypatch, how):
    """And of that one's not the files that are smaller."""
    read = submissions.read_notebook

    def stuck(raw, *rest):
        if b"stuck" in raw:
            time.sleep(600) if how == "hangs" else os._exit(3)
        return read(raw, *rest)

    monkeypatch.setattr(submissions, "read_notebook", stuck)
    monkeypatch.setattr(submissions, "SECONDS", 10 if how == "hangs" else 600)
    (class_of_two / "s001" / "a.ipynb").write_text(text("stuck = 1"))
    (class_of_two / "s001" / "b.ipynb").write_text(text(CODE, "stuck = 2"))
    unreadable(class_of_two, "took too long or broke off")
    (class_of_two / "s001" / "c.ipynb").write_text(text())
    assert [bool(each.problem) for each in collect(class_of_two, ROSTER)] == [1, 1, 0, 0]


def test_what_takes_long_shows_how_far_it_is(class_of_two, monkeypatch, capsys):
    read = submissions.read_notebook
    monkeypatch.setattr(
        submissions, "read_notebook", lambda *given: (time.sleep(4), read(*given))[1]
    )
    collect(class_of_two, ROSTER)
    assert "Reading" in capsys.readouterr().err


def test_names_and_texts_that_are_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"s001 \xff\x1b.ipynb")).write_text(text(CODE, "x = '\ud800'"))
    found = only(tmp_path, ROSTER)
    (found.place + "".join(found.cells)).encode()
    assert found.student.id == "s001"
    assert found.place.isprintable()


def test_too_much_code(tmp_path):
    (tmp_path / "x.ipynb").write_text(text("x = 1\n" * 100_000))
    assert "600,019 characters of code; up to 500,000" in only(tmp_path).problem
    words = "## Question a.1 · Why\n" + "x" * 600_000
    body = {"cells": [markdown(words[:22]), markdown(words[22:])]}
    (tmp_path / "x.ipynb").write_text(json.dumps(body))
    assert "600,000 characters of answers in words" in only(tmp_path).problem


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04broken", b"no zip"])
def test_broken_zips(tmp_path, body):
    (tmp_path / "x.zip").write_bytes(body)
    assert "cannot be read" in only(tmp_path).problem


def test_a_size_that_is_a_lie(tmp_path):
    raw = bytearray(zipped({"x.ipynb": b" " * 1000}))
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(raw)
    assert only(tmp_path).problem


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="submissions: there is no"):
        collect(tmp_path / "nothing")
    assert collect(tmp_path) == []


def markdown(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


@pytest.mark.parametrize(
    "cells",
    [
        ["<!-- answer essay.1 -->\n\nBecause."],
        ["Because."],  # the mark, which nobody sees, was overwritten
        ["<!-- answer essay.1 -->\n", "Because."],  # written below
        ["<!-- answer essay.1 -->\n# Because."],
    ],
)
def test_answers_in_words(tmp_path, cells):
    sent = page()
    sent["cells"] += [markdown("## Question essay.1 · Why\n\nWhy?"), *map(markdown, cells)]
    sent["cells"] += [
        markdown("## Question essay.2 · How"),
        markdown("## Exercise 3"),
        markdown("No."),
    ]
    (tmp_path / "x.ipynb").write_text(json.dumps(sent))
    assert {k: v.lstrip("# ") for k, v in only(tmp_path).words.items()} == {
        "essay.1": "Because.",
        "essay.2": "",
    }


def dated(path, dates):
    with zipfile.ZipFile(path, "w") as archive:
        for name, date in dates.items():
            archive.writestr(zipfile.ZipInfo(name, (*date, 0, 0, 0)), text(CODE))


@pytest.mark.parametrize("whole", [True, False])
def test_times_in_the_zip_file_of_the_platform(tmp_path, whole):
    none = (1980, 0, 0)
    dates = {"s001 a": (2026, 1, 2), "s001 b": none, "s001 c": (2026, 1, 1), "s002 d": none}
    path = tmp_path / "x.zip"
    dated(path, {f"{name}.ipynb": date for name, date in dates.items()})
    a, b, c, d = collect(path if whole else tmp_path, ROSTER)
    assert a.when - c.when == 24 * 3600
    # What has no date is the oldest, and not as new as what happens to stand before it.
    assert b.when == d.when == 0


def test_times_in_a_zip_file_of_a_student(tmp_path):
    """They could be any: what counts is when the zip file came."""
    mine = tmp_path / "s001"
    mine.mkdir()
    dated(mine / "x.zip", {"a.ipynb": (2026, 1, 2), "b.ipynb": (2099, 1, 1)})
    os.utime(mine / "x.zip", (5, 5))
    (tmp_path / "week").mkdir()
    # Whose these are, is open.
    dated(tmp_path / "week" / "y.zip", {"s001.ipynb": (2099, 1, 1)})
    dated(tmp_path / "work.zip", {"a.ipynb": (2099, 1, 1)})
    for path, when in {"week/y.zip": 6, "work.zip": 7}.items():
        os.utime(tmp_path / path, (when, when))
    for roster in (ROSTER, None):
        assert [each.when for each in collect(tmp_path, roster)] == [5, 5, 6, 7]
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        entry = zipfile.ZipInfo("s001/x.zip", (2026, 1, 2, 0, 0, 0))
        archive.writestr(entry, (mine / "x.zip").read_bytes())
    assert len({each.when for each in collect(tmp_path / "class.zip", ROSTER)}) == 1


def test_a_zip_file_of_everybody_without_a_roster(tmp_path):
    (tmp_path / "moodle.zip").write_bytes(
        zipped({"Ada_1_file_/x.ipynb": text(CODE), "bo.ipynb": text(CODE)})
    )
    found = collect(tmp_path / "moodle.zip")
    assert [each.student.id for each in found] == ["Ada_1_file_", "bo"]


@pytest.mark.parametrize("flag", [True, False])
def test_names_in_a_zip_file_without_the_flag_of_utf_8(tmp_path, flag):
    """As Info-ZIP writes them in a C locale: the bytes are UTF-8 and nothing says so."""
    raw = zipped({"Bo Åkesson_7_assignsubmission_file_/é.ipynb": text(CODE), "s001/ö.pdf": b"%PDF"})
    if not flag:
        raw = bytearray(raw)
        for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = -1
            while (place := raw.find(sign, place + 1)) >= 0:
                assert raw[place + at + 1] == 0x08
                raw[place + at + 1] = 0
    (tmp_path / "x.zip").write_bytes(raw)
    bo, ada = sorted(collect(tmp_path / "x.zip", ROSTER), key=lambda each: each.other)
    assert (bo.student.id, bo.problem) == ("s002", "")
    assert bo.place == "x.zip/Bo Åkesson_7_assignsubmission_file_/é.ipynb"
    assert ada.place == "x.zip/s001/ö.pdf"


def test_names_in_a_zip_file_that_are_not_utf_8(tmp_path):
    raw = zipped({"s001 x.ipynb": text(CODE)}).replace(b"s001 x", b"s001 \x94")
    (tmp_path / "x.zip").write_bytes(raw)
    assert only(tmp_path / "x.zip", ROSTER).place == "x.zip/s001 ö.ipynb"


def test_a_zip_file_in_one_in_that_of_the_platform(tmp_path):
    raw = zipped({"inner.zip": zipped({"x.ipynb": text(CODE)})})
    (tmp_path / "moodle.zip").write_bytes(zipped({"s001/hand-in.zip": raw}))
    for place in (tmp_path, tmp_path / "moodle.zip"):
        sent = only(place, ROSTER)
        assert (sent.student.id, sent.problem) == ("s001", "")
    assert only(tmp_path / "moodle.zip").problem == ""


def test_grades_are_not_read_as_submissions(tmp_path):
    for name in ("results", "feedback"):
        (tmp_path / "old" / name).mkdir(parents=True)
    for name in ("class.html", "grades.csv", "feedback/s001.html", "s001.ipynb"):
        (tmp_path / "old" / name).write_text("x")
    (tmp_path / "old" / "feedback.zip").write_bytes(zipped({"s001/feedback.html": "x"}))
    (tmp_path / "s002.ipynb").write_text(text(CODE))
    for roster in (ROSTER, None):
        assert only(tmp_path, roster).place == "s002.ipynb"
    assert collect(tmp_path / "old", ROSTER) == []
