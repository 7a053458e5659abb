"""Small folders of images as users have them: photos in class folders, a table, images with masks, COCO annotations."""

import csv
import json

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"apple": (200, 40, 30), "lemon": (220, 200, 40), "plum": (90, 40, 120)}


def draw_photo(file, name, number, mode="RGB", size=(40, 40)):
    """Write a noisy photo of a fruit in its colour; return the box around it: left, top, right, bottom."""
    rng = np.random.default_rng([number, *name.encode()])
    image = Image.fromarray(rng.integers(60, 180, (size[1], size[0], 3), dtype=np.uint8))
    left, top = (int(rng.integers(1, side - 22)) for side in size)
    box = (left, top, left + 20, top + 20)
    ImageDraw.Draw(image).ellipse(box, fill=COLOURS.get(name, (128, 128, 128)))
    file.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(file)
    return box


def draw_photos(folder, n=4, names=tuple(COLOURS), **options):
    """Write `folder/<class>/<number>.png`."""
    for name in names:
        for number in range(n):
            draw_photo(folder / name / f"{number}.png", name, number, **options)


def draw_table(folder, n=4, header=("image", "diagnosis", "patient"), **options):
    """Write `folder/img/*.png` and `folder/list.csv` with their classes; two images in a row belong to one patient."""
    rows = [(f"img/{name}{number}.png", name, f"p{number // 2}") for number in range(n) for name in COLOURS]
    for number, (file, name, _) in enumerate(rows):
        draw_photo(folder / file, name, number, **options)
    with (folder / "list.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])


def draw_masks(folder, n=10, values=(0, 255), images="images", masks="masks"):
    """Write `folder/images/*.png`, and masks that have the second value in the fruit."""
    (folder / masks).mkdir(parents=True)
    for number in range(n):
        box = draw_photo(folder / images / f"{number}.png", "apple", number)
        mask = Image.new("L", (40, 40), values[0])
        ImageDraw.Draw(mask).ellipse(box, fill=values[1])
        for place, value in enumerate(values[2:]):
            mask.putpixel((place, 0), value)
        mask.save(folder / masks / f"{number}.png")


def draw_coco(folder, n=10, file="annotations.json", images="images"):
    """Write `folder/images/*.png`, and one box per image."""
    names = [*COLOURS] * n
    boxes = [draw_photo(folder / images / f"{number}.png", names[number], number) for number in range(n)]
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 40} for number in range(n)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(COLOURS, start=1)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": number % 3 + 1, "bbox": [left, top, right - left, bottom - top]}
            for number, (left, top, right, bottom) in enumerate(boxes)
        ],
    }
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(content))
