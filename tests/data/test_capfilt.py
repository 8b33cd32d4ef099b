"""What CapFilt keeps, what it leaves out, and that its figures add up."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data.capfilt_models import Compared, Model
from data.made import jpeg, pictures, write
from seesay.data import open_dataset
from seesay.data.capfilt import capfilt
from seesay.data.capfilt_statistics import Statistics
from seesay.errors import UsageError


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def pairs(path: Path, source: str | None = None) -> list[tuple[str, str]]:
    """(Name of the picture, caption) of a listing."""
    found = [row for row in lines(path) if source in (None, row["source"])]
    return [(Path(row["image"]).name, row["caption"]) for row in found]


def web(folder: Path, *rows: str) -> str:
    """A table of web captions, "name,caption" each, and its pictures."""
    pictures(folder, *dict.fromkeys(row.split(",")[0] for row in rows))
    return write(folder / "web.csv", "\n".join(["image,caption", *rows]) + "\n")


def adds_up(statistics: Statistics, out: Path) -> None:
    """The figures are those of the files, and those of a part sum to the whole."""
    kept, rejected = lines(out / "captions.jsonl"), lines(out / "rejected.jsonl")
    assert statistics.captions == len(kept)
    assert statistics.kept_pictures == len({r["image"] for r in kept if r["source"] != "human"})
    assert all(row["kept"] for row in kept)
    assert not any(row["kept"] for row in rejected)
    for source, share in statistics.sources.items():
        mine, others = ([r for r in rows if r["source"] == source] for rows in (kept, rejected))
        assert (share.kept, share.rejected) == (len(mine), len(others))
        assert share.captions == share.left_out + share.kept + share.rejected
        judged = [row[statistics.measure] for row in mine + others if source != "human"]
        assert share.noise == (round(len(others) / len(judged), 6) if judged else None)
        mean = pytest.approx(sum(judged) / len(judged), abs=1e-6) if judged else None
        assert share.mean_score == mean
        assert sum(share.histogram) == (len(judged) if share.histogram else 0)
        lengths = sorted(len(row["caption"].split()) for row in mine)
        if lengths:
            told = share.kept_words
            assert told is not None
            assert (told.least, told.most) == (lengths[0], lengths[-1])
            assert told.mean == pytest.approx(sum(lengths) / len(lengths), abs=1e-3)
            middle = (lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) / 2
            assert told.median == middle
        assert sum(e.source == source and e.kept for e in statistics.examples) == min(5, len(mine))
    assert json.loads((out / "statistics.json").read_text())["captions"] == statistics.captions


def test_a_filter_keeps_what_exceeds_the_threshold_of_web_and_synthetic_captions_alike(
    tmp_path: Path,
) -> None:
    table = web(tmp_path, "a.jpg,yes", "b.jpg,no", "c.jpg,exactly", "d.jpg,barely")
    verdicts = {"yes": 0.9, "no": 0.1, "exactly": 0.5, "barely": 0.51}
    told: dict[str, float] = {}

    def verdict(text: str) -> float:
        return told.setdefault(text, verdicts.get(text, 0.2 if len(told) % 2 else 0.8))

    out = tmp_path / "out"
    statistics = capfilt(table, out, captioner=Model(), filter=Model(verdict))
    assert pairs(out / "captions.jsonl", "web") == [("a.jpg", "yes"), ("d.jpg", "barely")]
    assert pairs(out / "rejected.jsonl", "web") == [("b.jpg", "no"), ("c.jpg", "exactly")]
    for row in lines(out / "captions.jsonl") + lines(out / "rejected.jsonl"):
        assert row["probability"] == pytest.approx(told[row["caption"]], abs=1e-6)
        assert row["kept"] == (row["probability"] > 0.5)
    assert statistics.sources["web"].noise == 0.5
    assert statistics.sources["synthetic"].captions == 4
    adds_up(statistics, out)


def test_another_threshold_asks_no_model_again(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,one", "b.jpg,two", "c.jpg,three")
    model = Model(lambda text: {"one": 0.2, "two": 0.6}.get(text, 0.95))
    out = tmp_path / "out"
    capfilt(table, out, captioner=model)
    seen = model.module.seen
    assert [c for _, c in pairs(out / "captions.jsonl", "web")] == ["two", "three"]
    capfilt(table, out, captioner=model, threshold=0.7)
    assert [c for _, c in pairs(out / "captions.jsonl", "web")] == ["three"]
    capfilt(table, out, captioner=model, threshold=0.0, blip_json=True)
    assert [c for _, c in pairs(out / "captions.jsonl", "web")] == ["one", "two", "three"]
    assert model.module.seen == seen


def test_one_model_for_both_looks_at_a_picture_once(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,one", "b.jpg,two")
    model, other = Model(), Model()
    capfilt(table, tmp_path / "out", captioner=model)
    assert model.module.seen == 2
    capfilt(table, tmp_path / "other", captioner=model, filter=other)
    assert (model.module.seen, other.module.seen) == (4, 2)


def test_what_is_kept_opens_for_training(tmp_path: Path) -> None:
    table = web(tmp_path, 'a.jpg,"one, ""quoted"""', "b.jpg,一只猫\tand\u2028more", "a.jpg,two")
    statistics = capfilt(table, tmp_path / "out", captioner=Model(), blip_json=True)
    data = open_dataset(tmp_path / "out" / "captions.jsonl")
    assert not data.findings
    assert len(data) == statistics.captions
    texts = [record.texts[0] for record in data]
    assert texts[:2] == ['one, "quoted"', "two"]
    assert "一只猫\tand\u2028more" in texts
    assert data.picture(0).size == (40, 30)
    assert data.image_numbers.max() == 1  # captions of a picture are known to be of one
    blip = json.loads((tmp_path / "out" / "captions.json").read_text("utf-8"))
    assert blip == [
        {"image": row["image"], "caption": row["caption"]}
        for row in lines(tmp_path / "out" / "captions.jsonl")
    ]
    assert [r.texts for r in open_dataset(tmp_path / "out" / "captions.json")] == [
        record.texts for record in data
    ]
    capfilt(table, tmp_path / "out", captioner=Model())
    assert not (tmp_path / "out" / "captions.json").exists()  # it would be of other settings


def test_human_captions_pass_unjudged(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,bad")
    pictures(tmp_path / "coco", "h.jpg", "i.jpg")
    human = write(
        tmp_path / "coco" / "human.jsonl",
        '{"image": "h.jpg", "caption": ["bad", "worse"]}\n{"image": "i.jpg", "caption": "fine"}\n',
    )
    out = tmp_path / "out"
    statistics = capfilt(table, out, captioner=Model(lambda _: 0.1), human=human)
    assert pairs(out / "captions.jsonl") == [
        ("h.jpg", "bad"),
        ("h.jpg", "worse"),
        ("i.jpg", "fine"),
    ]
    assert {row["probability"] for row in lines(out / "captions.jsonl")} == {None}
    share = statistics.sources["human"]
    assert (share.captions, share.kept, share.noise) == (3, 3, None)
    assert statistics.pictures == 1
    adds_up(statistics, out)
    capfilt(table, out, captioner=Model(lambda _: 0.1))
    assert not lines(out / "captions.jsonl")


def test_the_captions_that_the_dual_encoder_puts_first_are_kept(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,in between", "b.jpg,worst", "b.jpg,best of all", "c.jpg,tied")
    captioner = Model()
    written: list[str] = []

    def cosine(text: str) -> float:
        known = {"in between": 0.35, "worst": -0.9, "best of all": 0.99, "tied": 0.25}
        if text not in known:
            written.append(text)
        return known.get(text, len(set(text)) / 40)

    out = tmp_path / "out"
    statistics = capfilt(table, out, captioner=captioner, rank=Compared(cosine))
    assert len(set(written)) > 9, "ten candidates of three pictures, some of them equal"
    everything = lines(out / "captions.jsonl") + lines(out / "rejected.jsonl")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        rows = [row for row in everything if row["image"].endswith(name)]
        kept = [row["similarity"] for row in rows if row["kept"]]
        assert len(kept) == 2
        assert min(kept) >= max(row["similarity"] for row in rows if not row["kept"])
        assert all(row["similarity"] == pytest.approx(cosine(row["caption"])) for row in rows)
    assert ("b.jpg", "best of all") in pairs(out / "captions.jsonl")
    assert ("b.jpg", "worst") in pairs(out / "rejected.jsonl")
    share = statistics.sources["synthetic"]
    assert share.captions == 30
    assert share.histogram == ()
    assert statistics.measure == "similarity"
    adds_up(statistics, out)
    capfilt(table, out, captioner=captioner, rank=Compared(cosine), keep=1)
    assert len(lines(out / "captions.jsonl")) == 3


def test_pictures_without_text_get_one_and_no_text_is_judged_twice(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    rows = (
        '{"image": "a.jpg", "caption": ["same", "same", "other"]}\n'
        '{"image": "b.jpg", "caption": []}\n'
        '{"image": "a.jpg", "caption": "other"}\n'
        '{"image": "c.jpg", "caption": "caf\\udce9"}\n'
    )
    out = tmp_path / "out"
    data = open_dataset(write(tmp_path / "t.jsonl", rows))
    statistics = capfilt(data, out, captioner=Model(), candidates=4)
    assert pairs(out / "captions.jsonl", "web") == [("a.jpg", "same"), ("a.jpg", "other")]
    assert statistics.sources["web"].captions == 5
    assert statistics.sources["web"].left_out == 3  # twice the same text, and one not UTF-8
    written = pairs(out / "captions.jsonl", "synthetic")
    assert len(set(written)) == len(written)
    assert {name for name, _ in written} == {"a.jpg", "b.jpg", "c.jpg"}
    assert statistics.sources["synthetic"].captions == 12
    assert (statistics.pictures, statistics.kept_pictures) == (3, 3)
    adds_up(statistics, out)


def test_a_folder_without_any_captions_is_enough(tmp_path: Path) -> None:
    pictures(tmp_path / "in", "a.jpg", "deep/b.png")
    statistics = capfilt(tmp_path / "in", tmp_path / "out", captioner=Model())
    assert statistics.sources["web"].captions == 0
    assert statistics.sources["web"].noise is None
    assert statistics.captions == 2


def test_bad_pictures_are_skipped_named_and_counted(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,one", "broken.jpg,two", "gone.jpg,three", "d.jpg,four")
    (tmp_path / "broken.jpg").write_bytes(jpeg()[:100])
    (tmp_path / "gone.jpg").unlink()
    told: list[tuple[int, int]] = []
    out = tmp_path / "out"
    statistics = capfilt(
        table, out, captioner=Model(), batch_size=2, progress=lambda *done: told.append(done)
    )
    assert told == [(2, 1), (2, 1)]
    assert (statistics.pictures, len(statistics.skipped)) == (4, 2)
    assert statistics.skipped[0].startswith("web.csv:3: ")
    assert "gone.jpg" in statistics.skipped[1]
    assert {name for name, _ in pairs(out / "captions.jsonl")} == {"a.jpg", "d.jpg"}
    adds_up(statistics, out)


def test_pictures_with_odd_names_are_found_again(tmp_path: Path) -> None:
    odd = [b"\xff.jpg", "é 猫.jpg".encode(), b"new\nline.jpg", b"quote\"d, 'n.jpg", b" space.jpg"]
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(odd):
        (folder / name.decode("utf-8", "surrogateescape")).write_bytes(jpeg(i))
    capfilt(folder, tmp_path / "out", captioner=Model(), blip_json=True)
    for listing in ("captions.jsonl", "captions.json"):
        data = open_dataset(tmp_path / "out" / listing)
        assert not data.findings
        assert {data.picture(i).size for i in range(len(data))} == {(40, 30)}
        assert {r.image for r in data} == {r.image for r in open_dataset(folder)}


def test_pictures_inside_tar_shards_are_copied_out(tmp_path: Path) -> None:
    shard = tmp_path / "web-000.tar"
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(3):
            members = {"jpg": jpeg(i) if i != 1 else b"broken", "txt": f"text {i}".encode()}
            for suffix, data in members.items():
                entry = tarfile.TarInfo(f"{i:06}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    out = tmp_path / "out"
    statistics = capfilt(str(shard), out, captioner=Model(), human=str(shard))
    assert len(statistics.skipped) == 1
    data = open_dataset(out / "captions.jsonl")
    assert data[0].texts == ("text 0",)
    assert data.image_bytes(0) == jpeg(0)
    names = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.jpeg"))]
    assert names[-2:] == ["pictures/web/0000/0000000.jpeg", "pictures/web/0000/0000002.jpeg"]
    assert len(names) == 5


def test_draws_depend_on_the_picture_and_not_on_the_batch(tmp_path: Path) -> None:
    table = web(tmp_path, *(f"{i}.jpg,text" for i in range(11)))
    outs = []
    for size in (1, 3, 8):
        capfilt(table, tmp_path / f"{size}", captioner=Model(), batch_size=size)
        outs.append((tmp_path / f"{size}" / "captions.jsonl").read_bytes())
    assert len(set(outs)) == 1
    capfilt(table, tmp_path / "few", captioner=Model(), limit=4)
    assert outs[0].startswith((tmp_path / "few" / "captions.jsonl").read_bytes())
    capfilt(table, tmp_path / "few", captioner=Model())  # it goes on
    assert (tmp_path / "few" / "captions.jsonl").read_bytes() == outs[0]
    capfilt(table, tmp_path / "seed", captioner=Model(), seed=1)
    assert (tmp_path / "seed" / "captions.jsonl").read_bytes() != outs[0]
    captions = pairs(tmp_path / "1" / "captions.jsonl", "synthetic")
    assert len({text for _, text in captions}) > 5


def test_what_cannot_be_is_refused_with_its_reason(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,one")
    model, dual = Model(), Compared(lambda _: 0.0)
    for wrong, message in (
        ({"filter": model, "rank": dual}, "not both"),
        ({"captioner": dual}, "writes no captions"),
        ({"filter": dual}, "cannot filter"),
        ({"rank": model}, "cannot rank"),
        ({"candidates": 0}, "candidates=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"limit": 0}, "limit=0"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"rank": dual, "keep": 0}, "keep=0"),
        ({"top_q": 0.5}, "top_q"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"num_return_sequences": 2}, "candidates says"),
        ({"do_sample": False, "candidates": 3}, "num_return_sequences=3"),
        ({"filter": Model(lambda _: float("nan"))}, "no number"),
    ):
        with pytest.raises(UsageError, match=message):
            capfilt(table, tmp_path / "out", **{"captioner": model, **wrong})


def test_beams_take_the_place_of_draws(tmp_path: Path) -> None:
    table = web(tmp_path, "a.jpg,one", "b.jpg,two")
    for out in ("x", "y"):
        capfilt(
            table, tmp_path / out, captioner=Model(), do_sample=False, num_beams=3,
            candidates=2, seed=len(out),
        )  # fmt: skip
    assert len(pairs(tmp_path / "x" / "captions.jsonl", "synthetic")) == 4
    settings = json.loads((tmp_path / "x" / "statistics.json").read_text())["settings"]
    assert settings["options"] == {"num_beams": 3, "num_return_sequences": 2, "max_length": 8}
