"""The page of results: complete in itself, harmless whatever the files are called."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from seesay.errors import StorageError
from seesay.index.report_html import Card, Section, page, write_page

HOSTILE = [
    "<img src=x onerror=alert(1)>.jpg",
    '"><script>alert(1)</script>.jpg',
    "' onmouseover='alert(1).jpg",
    "javascript:alert(1).jpg",
    "</title></style></script><svg onload=alert(1)>.jpg",
    "a&lt;b&amp;.jpg",
    "new\nline.jpg",
    "not-utf8-\udcff.jpg",
    "`${alert(1)}`.jpg",
    "\u202egpj.exe.jpg",
]


class Outline(HTMLParser):
    """Everything a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def hostile(tmp_path: Path) -> list[Card]:
    cards = []
    for i, name in enumerate(HOSTILE):
        path = f"{tmp_path}/{name.replace('/', '-')}"
        if i % 2 == 0:
            Image.new("RGB", (64, 48), (i * 20, 90, 90)).save(path)
        cards.append(Card(path, 0.3 - i / 10, f"#{i}", (64, 48)))
    return cards


def test_hostile_names_add_no_tag_and_no_attribute(hostile: list[Card]) -> None:
    plain = [Card(f"/nowhere/{i}.jpg", 0.1, "#1", (64, 48)) for i in range(len(hostile))]
    title = "<script>alert(1)</script>\"'"
    attack = Outline(page(title, title, [Section(title, hostile)]))
    calm = Outline(page("title", "about", [Section("heading", plain)]))
    images = [tag for tag, _ in attack.tags if tag == "img"]
    assert len(images) == len(HOSTILE) // 2
    others = [(t, set(a)) for t, a in attack.tags if t != "img"]
    expected = [(t, set(a)) for t, a in calm.tags]
    without = [entry for entry in expected if entry != ("span", set())]
    assert [entry for entry in others if entry != ("span", set())] == without
    for tag, attributes in attack.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)


def test_every_reference_is_inside_the_page_or_a_local_file(hostile: list[Card]) -> None:
    outline = Outline(page("t", "a", [Section("", hostile)]))
    for tag, attributes in outline.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            if value is not None:
                wanted = "data:image/jpeg;base64," if tag == "img" else "file:///"
                assert value.startswith(wanted), (tag, name, value)
                assert value.isascii()


def test_names_are_shown_as_they_are(hostile: list[Card]) -> None:
    text = "".join(Outline(page("t", "a", [Section("", hostile)])).text)
    assert "<img src=x onerror=alert(1)>.jpg" in text
    assert "a&lt;b&amp;.jpg" in text
    assert "new\\nline.jpg" in text
    assert "not-utf8-\\xff.jpg" in text


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(hostile: list[Card]) -> None:
    html = page("t", "a", [Section("", hostile)])
    outline = Outline(html)
    policy = next(
        attributes["content"]
        for tag, attributes in outline.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag in ("style", "script"):
        blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(blocks) == 1
        digest = base64.b64encode(hashlib.sha256(blocks[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [attributes for _, attributes in outline.tags if "style" in attributes], "inline"


def test_page_is_valid_utf8_and_written_in_one_step(tmp_path: Path, hostile: list[Card]) -> None:
    target = tmp_path / "out.html"
    write_page(target, "搜索 \udcff", "about", [Section("", hostile)])
    assert target.read_bytes().decode("utf-8").startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.new"))
    with pytest.raises(StorageError):
        write_page(tmp_path / "none" / "out.html", "t", "a", [])
    with pytest.raises(StorageError):
        write_page(tmp_path, "t", "a", [])
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.new"))
