"""Tar shards: offsets against the standard library, and hostile archives."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.made import jpeg, write
from seesay.data import open_dataset
from seesay.data.record import Member
from seesay.data.shards import expand, scan
from seesay.errors import InputError, UsageError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def archive(
    members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT, mode: str = "w"
) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shard(path: Path, count: int = 3, first: int = 0) -> str:
    members = []
    for i in range(first, first + count):
        members += [(f"{i:06}.jpg", jpeg(i)), (f"{i:06}.txt", f"caption {i}\n".encode())]
    return write(path, archive(members))


@pytest.mark.parametrize("form", FORMATS)
def test_every_member_lies_where_the_standard_library_finds_it(tmp_path: Path, form: int) -> None:
    long = "deep/" * 16 + "x" * 60 + ".jpg"
    names = ["a.jpg", "b/ü 猫.jpg", long, "c" * 90, *(["y" * 300] if form else [])]
    if form == tarfile.USTAR_FORMAT:
        names = names[:4]
    members = [(name, name.encode() * i) for i, name in enumerate(names)]
    path = write(tmp_path / "t.tar", archive(members, form))
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size, None) for m in tar]
    assert [tuple(entry) for entry in scan(path)] == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("ab/é猫. =\N{GRINNING FACE}", min_size=1, max_size=150),
            st.binary(max_size=1200),
        ),
        max_size=6,
    ),
    st.sampled_from(FORMATS[1:]),
)
def test_any_names_and_contents_are_found(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]], form: int
) -> None:
    path = write(tmp_path_factory.mktemp("t") / "t.tar", archive(members, form))
    data = Path(path).read_bytes()
    with tarfile.open(path) as tar:
        expected = [m.name for m in tar]
    found = list(scan(path))
    assert [entry.name.rstrip("/") for entry in found] == [name.rstrip("/") for name in expected]
    contents = [data[entry.offset : entry.offset + entry.size] for entry in found]
    assert contents == [content for _, content in members]


def test_samples_are_grouped_and_read_at_random(tmp_path: Path) -> None:
    members = [
        ("a/1.jpg", jpeg(1)), ("a/1.txt", b"one"), ("a/1.json", b'{"caption": "not this"}'),
        ("a/2.cls", b"7\n"), ("a/2.PNG", jpeg(2)), ("a/2.json", json.dumps(
            {"caption": ["two", "zwei"], "width": 3}).encode()),
        ("b/1.seg.jpg", jpeg(3)), ("b/1.txt", "drei 猫".encode()),
    ]  # fmt: skip
    dataset = open_dataset(write(tmp_path / "t.tar", archive(members)))
    assert dataset.form == "shards"
    assert [r.texts for r in dataset] == [("one",), ("two", "zwei"), ("drei 猫",)]
    assert [r.where for r in dataset] == ["t.tar:a/1", "t.tar:a/2", "t.tar:b/1"]
    assert dataset.labels.tolist() == [-1, 7, -1]
    assert isinstance(dataset[1].image, Member)
    for row in (2, 0, 1):
        assert dataset.image_bytes(row) == jpeg(row + 1)
    assert dataset.picture(2).size == (40, 30)
    assert len(set(dataset.image_numbers.tolist())) == 3


def test_labels_get_the_names_beside_the_shard(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "t.tar", archive([("1.jpg", jpeg()), ("1.cls", b"1")]))
    dataset = open_dataset(tmp_path)
    assert (dataset.classes, dataset.labels.tolist()) == (("cat", "dog"), [1])


def test_braces_and_folders_name_many_shards(tmp_path: Path) -> None:
    for i in range(3):
        shard(tmp_path / f"s-{i:04}.tar", count=2, first=2 * i)
    by_braces = open_dataset(f"{tmp_path}/s-{{0000..0002}}.tar")
    by_folder = open_dataset(tmp_path)
    assert [r.texts for r in by_braces] == [(f"caption {i}",) for i in range(6)]
    assert list(by_braces) == list(by_folder)
    assert by_braces.image_bytes(5) == jpeg(5)
    with pytest.raises(InputError, match=r"1 of 4 shards are missing: .*s-0003"):
        open_dataset(f"{tmp_path}/s-{{0000..0003}}.tar")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}.tar", ["8.tar", "9.tar", "10.tar", "11.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ("x{00..00}.tar", ["x00.tar"]),
    ],
)
def test_braces_stand_for_what_a_shell_makes_of_them(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("pipe:cat x.tar", "is a command; none is run"),
        (" pipe:touch {0..1}.tar", "is a command"),
        ("https://h.example/{0..1}.tar", "is remote"),
        ("{0..99999999}.tar", "more than"),
        ("{0..9999}{0..9999}.tar", "stands for 100000000 files"),
        ("{3..1}.tar", "stands for 0 files"),
    ],
)
def test_commands_addresses_and_floods_are_refused(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_dataset(pattern)


def test_a_hostile_archive_touches_nothing(tmp_path: Path) -> None:
    stream = io.BytesIO()
    mark = tmp_path / "touched"
    evil = f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for kind, name, target in (
            (tarfile.SYMTYPE, "1.jpg", "/etc/hostname"),
            (tarfile.LNKTYPE, "2.jpg", "../x"),
            (tarfile.FIFOTYPE, "3.jpg", ""),
            (tarfile.CHRTYPE, "4.jpg", ""),
            (tarfile.DIRTYPE, "dir", ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        for name, data in (
            ("../../up.jpg", jpeg(1)), ("../../up.txt", b"up"),
            (f"{tmp_path}/absolute.jpg", jpeg(2)), (f"{tmp_path}/absolute.txt", b"abs"),
            ("5.jpg", jpeg(3)), ("5.pyd", evil), ("5.pkl", evil), ("5.pth", evil), ("5.txt", b"ok"),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = write(tmp_path / "in" / "t.tar", stream.getvalue())
    before = sorted(tmp_path.rglob("*"))
    dataset = open_dataset(path)
    assert [r.texts for r in dataset] == [("up",), ("abs",), ("ok",)]
    assert dataset.image_bytes(0) == jpeg(1)
    told = {f.what for f in dataset.findings if f.kind == "left-out"}
    assert told == {
        "1 members: a symbolic link", "1 members: a hard link", "1 members: a pipe",
        "1 members: a device", "3 members: pickled, and pickles are never read",
    }  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sparse_member_is_not_read(tmp_path: Path) -> None:
    content = archive([("1.jpg", jpeg()), ("1.txt", b"x")], tarfile.PAX_FORMAT)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("s.jpg")
        info.size, info.pax_headers = 4, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        tar.addfile(info, io.BytesIO(b"1\n0\n"))
    path = write(tmp_path / "t.tar", stream.getvalue()[:2048] + content)
    assert [e.refused for e in scan(path)] == ["a sparse file", None, None]


@pytest.mark.parametrize("cut", [100, 512, 600, 1024, 2000])
def test_a_truncated_shard_gives_what_is_whole_and_says_where_it_ends(
    tmp_path: Path, cut: int
) -> None:
    whole = archive([("1.txt", b"one"), ("1.jpg", jpeg(1)), ("2.jpg", jpeg(2)), ("2.txt", b"x")])
    dataset = open_dataset(write(tmp_path / "t.tar", whole[:cut]))
    assert len(dataset) == 0
    assert any("ends" in f.what or "no picture" in f.what for f in dataset.findings)
    dataset = open_dataset(write(tmp_path / "t.tar", whole[: len(whole) - 10240 + 2048]))
    assert all(dataset.picture(i) for i in range(len(dataset)))


def test_a_damaged_header_is_found_by_its_sum(tmp_path: Path) -> None:
    whole = bytearray(archive([("1.jpg", jpeg(1)), ("1.txt", b"one"), ("2.jpg", jpeg(2))]))
    whole[2 + 512 * (1 + -(-len(jpeg(1)) // 512))] ^= 0xFF
    dataset = open_dataset(write(tmp_path / "t.tar", bytes(whole)))
    assert [f.kind for f in dataset.findings] == ["bad-row"]
    assert "is damaged at byte" in dataset.findings[0].what


def test_random_bytes_never_crash(tmp_path: Path) -> None:
    whole = archive([(f"{i}.jpg", jpeg(i)) for i in range(3)], tarfile.GNU_FORMAT)

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=20))
    def check(place: int, noise: bytes) -> None:
        changed = whole[:place] + noise + whole[place + len(noise) :]
        path = write(tmp_path / "t.tar", changed)
        with contextlib.suppress(InputError):
            assert all(e.offset + e.size <= len(changed) for e in scan(path))

    check()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_shards_are_told_from_damaged_ones(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "t.tar", archive([("1.jpg", jpeg())], mode=mode))
    [finding] = open_dataset(path).findings
    assert "is compressed" in finding.what


def test_a_member_that_shrank_since_is_an_error(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar")
    dataset = open_dataset(path)
    Path(path).write_bytes(Path(path).read_bytes()[:800])
    with pytest.raises(InputError, match=r"t\.tar:000000: .*ends inside it"):
        dataset.image_bytes(0)
