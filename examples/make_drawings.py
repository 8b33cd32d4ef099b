"""Makes `examples/drawings`: `python examples/make_drawings.py --work DIR` (the extra `train`).

Fetches the packages into DIR, as the recipe of seesay/mini does, and draws everyday things small,
as several vendors of emoji draw them. The same packages and the same Pillow make the same files.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

from PIL import Image

from seesay.recipes.mini import drawings
from seesay.recipes.mini.render import Renderer
from seesay.recipes.mini.sources import CLDR, SOLID, VENDORS, fetch

SIZE = 64
COLOURS = 64

SPLITS = {
    "noto": "train",
    "noto-v1": "train",
    "fluent": "train",
    "solid": "train",
    "emojione": "validation",
    "twemoji": "test",
}
"""A vendor is in one split whole. `solid` is Fluent's set of shaded solids."""

LANGUAGES = ("zh", "de", "fr", "es", "ja")

CONCEPTS = {
    "animal": """ant, bat, bird, butterfly, camel, cat, cow, crab, crocodile, deer, dog, dolphin,
        donkey, dove, dragon, duck, eagle, elephant, fish, fox, goat, gorilla, hippopotamus,
        honeybee, horse, koala, lady beetle, lizard, monkey, mouse, octopus, owl, panda, penguin,
        pig, polar bear, rabbit, ram, rhinoceros, rooster, scorpion, shark, shrimp, snail, snake,
        spider, spiral shell, squid, tiger, turkey, turtle, wolf""",
    "plant": """cactus, cherry blossom, deciduous tree, evergreen tree, four leaf clover, herb,
        hibiscus, maple leaf, mushroom, palm tree, rose, seedling, sunflower, tulip""",
    "food": """avocado, bacon, baguette bread, banana, beer mug, bell pepper, birthday cake,
        bread, candy, carrot, cheese wedge, cherries, chestnut, chocolate bar, cooking, cookie,
        croissant, cucumber, doughnut, dumpling, ear of corn, egg, eggplant, french fries,
        glass of milk, grapes, hamburger, honey pot, hot beverage, hot dog, hot pepper, ice cream,
        kiwi fruit, lemon, lollipop, melon, onion, pancakes, peach, peanuts, pear, pineapple,
        pizza, popcorn, potato, red apple, rice ball, sandwich, soft ice cream, spaghetti,
        strawberry, sushi, taco, tangerine, tomato, waffle, watermelon, wine glass""",
    "place": """castle, church, desert, factory, ferris wheel, fountain, hospital, house, mosque,
        roller coaster, school, snow-capped mountain, stadium, statue of liberty, tent, volcano""",
    "weather": """cloud, cloud with rain, comet, crescent moon, fire, rainbow, snowflake, snowman,
        star, sun, tornado, umbrella, water wave""",
    "vehicle": """airplane, ambulance, anchor, automobile, bicycle, bus, canoe, fire engine,
        helicopter, kick scooter, locomotive, motor scooter, motorcycle, parachute, police car,
        racing car, rocket, sailboat, ship, speedboat, taxi, tractor, tram""",
    "clothing": """backpack, bikini, crown, dress, glasses, graduation cap, handbag,
        high-heeled shoe, hiking boot, jeans, kimono, necktie, ring, running shoe, sunglasses,
        t-shirt, top hat, watch""",
    "music": """bell, drum, guitar, headphone, microphone, musical keyboard, radio, saxophone,
        trumpet, violin""",
    "play": """american football, artist palette, balloon, baseball, basketball, bowling,
        bow and arrow, christmas tree, fishing pole, game die, ice skate, jack-o-lantern,
        joystick, kite, robot, soccer ball, tennis, trophy, video game, volleyball, wrapped gift""",
    "tool": """alarm clock, balance scale, bathtub, battery, bed, books, briefcase, bucket,
        calendar, camera, candle, crayon, door, envelope, flashlight, floppy disk, fork and knife,
        fountain pen, gear, gem stone, hammer, key, light bulb, lipstick, microscope,
        mobile phone, money bag, newspaper, nut and bolt, package, paintbrush, paperclip, pencil,
        pushpin, scissors, shield, shopping cart, shower, spoon, stop sign, stopwatch, telephone,
        telescope, television, toilet, vertical traffic light, wrench""",
}
"""What is drawn, by label: the names that CLDR gives."""


def names(packages: Path) -> dict[str, dict[str, str]]:
    """The name of each concept in each language."""
    table = packages / CLDR[0].folder / "annotations"
    read = {
        language: json.loads((table / language / "annotations.json").read_text())
        for language in ("en", *LANGUAGES)
    }
    found: dict[str, dict[str, str]] = {}
    for characters, entry in read["en"]["annotations"]["annotations"].items():
        concept = entry["tts"][0].lower()
        found[concept] = {
            language: words["annotations"]["annotations"][characters]["tts"][0]
            for language, words in read.items()
            if characters in words["annotations"]["annotations"]
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where packages lie or will lie")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("drawings"))
    told = parser.parse_args()
    fetch(told.work)
    packages = told.work / "packages"
    renderer, named = Renderer(packages), names(packages)
    labels = {
        concept: label
        for label, listed in CONCEPTS.items()
        for concept in (" ".join(c.split()) for c in listed.split(","))
    }
    rows = []
    for vendor, split in SPLITS.items():
        art = {d.concept: d for d in drawings.emoji_drawings(packages, vendor, plain=True)}
        shutil.rmtree(told.out / vendor, ignore_errors=True)
        (told.out / vendor).mkdir(parents=True)
        for concept in sorted(labels):
            drawing = art.get(concept)
            if drawing is None:
                continue
            if drawing.held_out and split != "test":
                continue  # a novel concept is drawn by the test's vendor alone
            picture = renderer.render(drawing, "plain")
            if picture is None:
                continue
            path = f"{vendor}/{concept.replace(' ', '-')}.png"
            small = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            small.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
                told.out / path, optimize=True
            )
            keywords = drawing.english[-1]  # the name again where CLDR has no others
            package = SOLID if vendor == "solid" else VENDORS[vendor]
            rows.append(
                {
                    "file_name": path,
                    "text": drawing.english[0],
                    **{f"text_{x}": named[concept].get(x, "") for x in LANGUAGES},
                    "keywords": keywords,
                    "label": labels[concept],
                    "concept": concept,
                    "vendor": vendor,
                    "licence": package.licence,
                    "split": "novel" if drawing.held_out else split,
                }
            )
    with open(told.out / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    missing = sorted(c for c in labels if c not in {r["concept"] for r in rows})
    print(f"{len(rows)} pictures in {told.out}; without a drawing: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    main()
