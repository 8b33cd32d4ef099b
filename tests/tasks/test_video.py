"""Videos are folders of frames: which are taken, and how they are matched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from contract.probes import build, picture, pictures
from seesay.errors import InputError, UsageError
from seesay.tasks.match import MatchInput, pair_ids, run
from seesay.tasks.video import frames_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(1, 13):
        picture(seed=i).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    return tmp_path


def names(paths: tuple[str, ...]) -> list[str]:
    return [Path(path).stem.removeprefix("frame") for path in paths]


def test_frames_are_evenly_spaced_in_the_order_that_people_count(folder: Path) -> None:
    assert names(frames_of(folder, 12)) == [str(i) for i in range(1, 13)]
    assert names(frames_of(folder, 4)) == ["2", "5", "8", "11"]
    assert names(frames_of(folder, 1)) == ["7"]
    assert names(frames_of(folder, 100)) == [str(i) for i in range(1, 13)]


def test_what_is_no_folder_of_frames_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    for where, count, said in (
        (folder / "frame1.png", 3, "not a folder"),
        (folder / "empty", 3, "no images"),
        (folder, 0, "frames=0"),
    ):
        with pytest.raises(UsageError, match=said):
            frames_of(where, count)


def test_a_video_is_the_mean_of_vectors_and_one_long_image() -> None:
    model = build("blip-tiny-retrieval")
    frames = pictures()
    [found] = model.match(videos=[frames], texts="a red square")
    vector = F.normalize(model.embed_images(frames).mean(0), dim=0)
    assert found.itc == pytest.approx(
        float(vector @ model.embed_texts("a red square")[0]), abs=1e-5
    )
    features = model.features(frames)
    tokens = torch.cat([one.tokens for one in features if one.tokens is not None])[None]
    with torch.inference_mode():
        logits = model.module.match(tokens, *pair_ids(model, ["a red square"]))  # type: ignore[operator]
    assert found.itm == pytest.approx(float(logits[0, 1]), abs=1e-4)


def test_models_that_only_have_vectors_match_videos_too() -> None:
    model = build("clip-tiny")
    frames = pictures()
    [found] = model.match(videos=[frames], texts="a red square")
    vector = F.normalize(model.embed_images(frames).mean(0), dim=0)
    assert found.itc == pytest.approx(
        float(vector @ model.embed_texts("a red square")[0]), abs=1e-5
    )
    assert found.itm is None


def test_a_frame_that_cannot_be_read_fails_its_video_alone(folder: Path) -> None:
    model = build("clip-tiny")
    good = [str(folder / f"frame{i}.png") for i in (1, 2)]
    requests = [
        MatchInput(image=(good[0], str(folder / "notes.txt")), text="a"),
        MatchInput(image=tuple(good), text="a"),
    ]
    bad, fine = run(model, requests)
    assert isinstance(bad, InputError)
    assert "notes.txt" in bad.what
    assert not isinstance(fine, InputError)
