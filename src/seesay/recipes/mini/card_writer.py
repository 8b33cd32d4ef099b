"""The card's section on the writer, printed from the figures of `judge.everything`."""

from __future__ import annotations

from typing import Any

HEAD = """
## What the writer says
`seesay caption` and `seesay ask` write, in English, with {parameters:.1f} M parameters. They were
trained in half an hour of one shared core, the towers being frozen, on drawings, on scenes composed
of them, on easy-VQA, and on vectors of photographs that nobody took (`recipes/mini/telling.py`).

Each figure stands beside its control: for captions the same captions dealt out to other pictures,
for answers those given about another picture, and the likeliest answer to the question alone.
Percent. The scenes, their test parts included, are made by the recipe from fixed seeds.

| captions | pictures | exactly right | word F1 | dealt out: exact | dealt out: F1 |
|---|---|---|---|---|---|
"""

ANSWERS = """
| answers | questions | right | other picture | question alone |
|---|---|---|---|---|
"""

GALLERY = """
What it says of the pictures of `examples/gallery`, all of them (none was trained on):

| picture | caption |
|---|---|
"""

TAIL = """
By our count it names the main thing of 32 of the 77 photographs, and of 9 of the 17 drawings.

What it can: name single drawings of common things, and photographs whose main thing is a class of
ImageNet; list what a simple scene holds and count it; tell the colour of a ground, a photograph
from a drawing, and the shapes and colours of easy-VQA well above chance. What it cannot:
- "is there a ...?" and "is the ... above the ...?" in scenes are guesses (51 and 45 %, where a coin
  has 50); where things are, and which colour they have, is little better than the question alone.
- Concepts it has not seen drawn, clip art, people, flags and faces: mostly a wrong word.
- Photographs: nothing but the main thing, no counts, places or colours. What ImageNet does not know
  becomes what looks alike: Saturn is "a hat", a retina "a moon", a desert "an umbrella in the sky".
- It writes English alone; asked in Chinese it answers nonsense. It always says something, never
  that it does not know, and its scores are no probabilities of being right.

While it was made, the first hundred scenes of each test part, some drawings of E1 and E2 and the
gallery's captions were looked at four times, to see whether training went well; how unlike a
drawing a picture may be for its places to be shown (1.7) was set after a look at that figure for
the gallery. Nothing else was chosen on them. It is a single run.
"""

SETS = {
    "scenes-seen": "new scenes, known drawings",
    "scenes-vendor": "scenes by an unseen vendor",
    "scenes-concept": "scenes of unseen concepts",
}

KINDS = {
    "there": "is there a ...?",
    "any": "is there an animal (fruit, vehicle, ...)?",
    "count": "how many ... are there?",
    "count all": "how many things?",
    "colour": "what colour is the ...?",
    "ground": "what colour is the background?",
    "where": "where is the ...?",
    "beside": "what is to the left of (above, ...) the ...?",
    "relation": "is the ... above (below, ...) the ...?",
    "kind": "what animal (fruit, vehicle, ...) is it?",
    "what": "what is in the picture?",
}


def section(found: dict[str, Any]) -> str:
    """Return the section."""
    text = HEAD.format(parameters=found["parameters"] / 1e6)
    for name, figures in found.items():
        if "word F1" not in (figures if isinstance(figures, dict) else ()):
            continue
        cells = [
            figures.get(key) for key in ("exact", "word F1", "exact shuffled", "word F1 shuffled")
        ]
        told = " | ".join("-" if cell is None else f"{cell:.1f}" for cell in cells)
        text += f"| {_called(name)} | {figures['pictures']} | {told} |\n"
    text += ANSWERS + _answers("easy-VQA, its test part", found["easy-VQA"])
    for name, figures in found.items():
        if "answers" in name:
            for kind, row in figures.items():
                label = _called(name) + (", all" if kind == "all" else f": {KINDS[kind]}")
                if kind == "all" or name.startswith("scenes-seen"):
                    text += _answers(label, row)
    said = [f"| {name} | {told['english']} |\n" for name, told in found["gallery"].items()]
    return text + GALLERY + "".join(said) + TAIL


def _answers(name: str, row: dict[str, Any]) -> str:
    cells = " | ".join(f"{row[key]:.1f}" for key in ("right", "shuffled", "question only"))
    return f"| {name} | {row['questions']} | {cells} |\n"


def _called(name: str) -> str:
    for short, long in SETS.items():
        name = name.replace(short, long)
    return name.replace(", english", "").replace(" captions", "").replace(" answers", "")
