"""A small labelled dataset that the project generates: patterns that a person can distinguish, in any colours.

Every image has random colours, place, size, angle and noise, so that no class is known by its mean colour.
The same seed gives the same bytes.
"""

import colorsys
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE_PX = 256
PER_CLASS = {"train": 16, "valid": 8, "test": 4}

Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, float, Colour], None]


def write(folder: Path, seed: int = 7) -> int:
    """Writes train/, valid/ and test/ with one folder per class into `folder`; returns the number of images."""
    count = 0
    for split, per_class in PER_CLASS.items():
        for label, draw in PATTERNS.items():
            target = folder / split / label
            target.mkdir(parents=True, exist_ok=True)
            for index in range(per_class):
                image = _image(draw, random.Random(f"{seed}/{split}/{label}/{index}"))
                image.save(target / f"{label}-{index:03d}.jpg", quality=88)
                count += 1
    return count


def _image(draw: Draw, generator: random.Random) -> Image.Image:
    background, foreground = _colours(generator)
    side = SIZE_PX * 2  # drawn large, turned, and cut from the middle: no corner shows
    canvas = Image.new("RGB", (side, side), background)
    draw(ImageDraw.Draw(canvas), generator.uniform(0.55, 0.95) * SIZE_PX / 2, foreground)
    shift = [generator.randint(-SIZE_PX // 10, SIZE_PX // 10) for _ in range(2)]
    turned = canvas.rotate(
        generator.uniform(0, 360), Image.Resampling.BICUBIC, translate=(shift[0], shift[1]), fillcolor=background
    )
    margin = (side - SIZE_PX) // 2
    pixels = np.asarray(turned.crop((margin, margin, margin + SIZE_PX, margin + SIZE_PX)), dtype=np.float32)
    noise = np.random.default_rng(generator.randrange(2**32)).normal(0, generator.uniform(3, 12), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _colours(generator: random.Random) -> tuple[Colour, Colour]:
    hue = generator.random()
    light, dark = generator.uniform(0.72, 0.95), generator.uniform(0.15, 0.4)
    values = [light, dark] if generator.random() < 0.5 else [dark, light]
    other = hue + generator.uniform(0.25, 0.75)
    return _rgb(hue, generator, values[0]), _rgb(other, generator, values[1])


def _rgb(hue: float, generator: random.Random, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, generator.uniform(0.2, 0.9), value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _polygon(points: list[tuple[float, float]]) -> Draw:
    """A filled shape; the points are on the unit circle's scale."""

    def draw(canvas: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
        canvas.polygon([(SIZE_PX + x * radius, SIZE_PX + y * radius) for x, y in points], fill=colour)

    return draw


def _around(corners: int, inner: float = 1.0) -> list[tuple[float, float]]:
    radii = [1.0, inner] if inner != 1.0 else [1.0]
    count = corners * len(radii)
    angles = [2 * math.pi * i / count for i in range(count)]
    return [(radii[i % len(radii)] * math.sin(a), radii[i % len(radii)] * -math.cos(a)) for i, a in enumerate(angles)]


def _disc(canvas: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
    canvas.ellipse((SIZE_PX - radius, SIZE_PX - radius, SIZE_PX + radius, SIZE_PX + radius), fill=colour)


def _rings(canvas: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
    for part in (1.0, 0.7, 0.4):
        reach = radius * part
        box = (SIZE_PX - reach, SIZE_PX - reach, SIZE_PX + reach, SIZE_PX + reach)
        canvas.ellipse(box, outline=colour, width=round(radius * 0.13))


def _stripes(canvas: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
    width = radius * 0.28
    for start in np.arange(-SIZE_PX, SIZE_PX * 3, width * 2):
        canvas.rectangle((start, -SIZE_PX, start + width, SIZE_PX * 3), fill=colour)


def _chequers(canvas: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
    side = radius * 0.34
    for row, top in enumerate(np.arange(0, SIZE_PX * 2, side)):
        for left in np.arange(side * (row % 2), SIZE_PX * 2, side * 2):
            canvas.rectangle((left, top, left + side, top + side), fill=colour)


_CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
          (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]  # fmt: skip

PATTERNS: dict[str, Draw] = {
    "chequers": _chequers,
    "cross": _polygon(_CROSS),
    "disc": _disc,
    "rings": _rings,
    "square": _polygon(_around(4)),
    "star": _polygon(_around(5, inner=0.4)),
    "stripes": _stripes,
    "triangle": _polygon(_around(3)),
}
