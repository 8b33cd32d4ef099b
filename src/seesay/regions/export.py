"""Regions in the forms that other programs read: COCO, Label Studio, supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from seesay.errors import MissingExtra, UsageError
from seesay.regions.types import Point, Regions, extent

TEXT = "Text"
"""What Label Studio calls a line of text; the text itself is its transcription."""
UNNAMED = "region"
"""What a region without a label is called where there must be a name."""


def coco(results: Sequence[Regions], names: Sequence[str]) -> dict[str, Any]:
    """Return one COCO document about several pictures.

    The parts of a segmented thing are one annotation. Results of one name and size are of one
    picture: two phrases were looked for in it, say. Ids begin at 1, and categories stand in the
    order in which labels first appear; a line of text is of category "text", with what it says as
    `utf8_string`, as in COCO-Text. A score is written where there is one; `annotations` is also
    what evaluation reads as a list of results.

    Args:
        results: What was found.
        names: The file name of each one's picture.

    Raises:
        UsageError: There are not as many names as results.
    """
    _pair(results, names)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    pictures: dict[tuple[str, int, int], int] = {}
    for result, name in zip(results, names, strict=True):
        width, height = result.size
        image_id = pictures.setdefault((name, width, height), len(images) + 1)
        if image_id > len(images):
            images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for parts in result.things():
            label, score = parts[0].label, parts[0].score
            read = {} if parts[0].quad is None else {"utf8_string": label}
            category = "text" if read else label or UNNAMED  # what a line says is no category
            box = extent(parts).ordered
            outlines = [part.polygon or part.quad for part in parts]
            drawn = [outline for outline in outlines if outline is not None]
            area = sum(_area(outline) for outline in drawn) if drawn else box.width * box.height
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": categories.setdefault(category, len(categories) + 1),
                "bbox": _rounded([box.x1, box.y1, box.width, box.height]),
                "area": round(area, 2),
                "segmentation": [_rounded([v for p in outline for v in p]) for outline in drawn],
                "iscrowd": 0,
            } | read
            annotations.append(annotation if score is None else annotation | {"score": score})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": id, "name": label} for label, id in categories.items()],
    }


def label_studio(results: Sequence[Regions], urls: Sequence[str]) -> list[dict[str, Any]]:
    """Return tasks of Label Studio, one for each picture, with the regions as predictions.

    Places are in percent of the picture. A box is a rectangle and a polygon a polygon, both with
    the label; a quad is a polygon called "Text", whose words are a text area of the same id, as in
    Label Studio's form for OCR. `label_studio_form` has the names that are used here.

    Args:
        results: What was found, one for each picture.
        urls: Where Label Studio finds the pictures.

    Raises:
        UsageError: There are not as many addresses as results.
    """
    _pair(results, urls)
    return [
        {"data": {"image": url}, "predictions": [{"result": _marks(result), **_sure(result)}]}
        for result, url in zip(results, urls, strict=True)
    ]


def label_studio_form(results: Sequence[Regions]) -> str:
    """Return the labelling form (XML) with which a project shows what `label_studio` returns."""
    marks = [mark for result in results for mark in _marks(result)]
    lines = ['  <Image name="image" value="$image"/>']
    for tag in ("RectangleLabels", "PolygonLabels"):
        kind = tag.lower()
        found = dict.fromkeys(v for m in marks if m["type"] == kind for v in m["value"][kind])
        if found:
            labels = [f"    <Label value={quoteattr(label)}/>" for label in found]
            lines += [f'  <{tag} name="{kind}" toName="image">', *labels, f"  </{tag}>"]
    if any(mark["type"] == "textarea" for mark in marks):
        lines.append(
            '  <TextArea name="textarea" toName="image" perRegion="true" editable="true"'
            ' displayMode="region-list"/>'
        )
    return "\n".join(["<View>", *lines, "</View>"])


def detections(result: Regions) -> Any:
    """Return `supervision.Detections`: boxes, masks where there are outlines, labels, scores.

    Raises:
        MissingExtra: supervision is not installed.
    """
    try:
        import supervision
    except ImportError:
        raise MissingExtra("supervision", "supervision", "to_supervision") from None
    import numpy as np

    things = result.things()
    first = [parts[0] for parts in things]
    labels = [region.label for region in first]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    scores = [region.score for region in first if region.score is not None]
    outlined = any(region.polygon or region.quad for region in first)
    return supervision.Detections(
        xyxy=np.array([extent(parts).ordered for parts in things], np.float32).reshape(-1, 4),
        mask=result.masks() if outlined else None,
        # confidence is told of all or of none
        confidence=np.array(scores, np.float32) if len(scores) == len(things) else None,
        class_id=np.array([numbers[label] for label in labels], int),
        data={"class_name": np.array(labels, dtype=str)},
    )


def _pair(results: Sequence[Regions], names: Sequence[str]) -> None:
    if len(results) != len(names):
        raise UsageError(f"{len(results)} results and {len(names)} names", "give one for each")


def _area(outline: Sequence[Point]) -> float:
    """The area in square pixels, by the shoelace formula, the closing edge included."""
    turned = [*outline[1:], outline[0]]
    return abs(sum(a.x * b.y - b.x * a.y for a, b in zip(outline, turned, strict=True))) / 2


def _rounded(values: Sequence[float]) -> list[float]:
    """To a hundredth of a pixel, so that files stay small."""
    return [round(value, 2) for value in values]


def _sure(result: Regions) -> dict[str, float]:
    """The mean score, by which Label Studio sorts tasks, where all regions have one."""
    scores = [region.score for region in result.regions if region.score is not None]
    if not scores or len(scores) < len(result.regions):
        return {}
    return {"score": sum(scores) / len(scores)}


def _marks(result: Regions) -> list[dict[str, Any]]:
    """The regions as Label Studio's results."""
    width, height = result.size
    marks: list[dict[str, Any]] = []
    for number, region in enumerate(result.regions):
        outline = region.polygon or region.quad
        if outline is None:
            box = region.box.ordered
            kind = "rectanglelabels"
            place: dict[str, Any] = {
                "x": box.x1 / width * 100,
                "y": box.y1 / height * 100,
                "width": box.width / width * 100,
                "height": box.height / height * 100,
                "rotation": 0,
            }
        else:
            kind = "polygonlabels"
            place = {"points": [[x / width * 100, y / height * 100] for x, y in outline]}
            place["closed"] = True
        mark: dict[str, Any] = {
            "id": f"region-{number}",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
        }
        if region.score is not None:
            mark["score"] = region.score
        label = TEXT if region.quad is not None else region.label or UNNAMED
        marks.append(mark | {"type": kind, "from_name": kind, "value": place | {kind: [label]}})
        if region.quad is not None:
            words = {"type": "textarea", "from_name": "textarea"}
            marks.append(mark | words | {"value": place | {"text": [region.label]}})
    return marks
