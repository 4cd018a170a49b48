"""The sample's product pictures: the kind as a shape, the visual latents as colour, size, pattern.

z_v is the product's hue, the background and the product's size; B z_a is how many stripes the
product has and how many dots the wall behind it. The visual signs are the surroundings: a window
or a plant on the wall, a plain or a chequered shelf, flags along the top or none.
"""

import colorsys
import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from brmrs.sample.latent import Floats

SIDE = 224  # pixels of a picture
SCALE = 2  # drawn larger by this, then reduced, for smooth edges
QUALITY = 88  # of the JPEG
MOST_STRIPES, MOST_DOTS = 12, 60
SHELF = 0.8  # height of the shelf under the product, as a share of the side

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

BODY, DARK, LIGHT = "body", "dark", "light"
# Shapes in a unit square, y downwards, drawn in order: the shape, points as x, y, x, y, ..., and
# the paint. "ring" is an outline; "round" a rounded rectangle.
SHAPES: tuple[tuple[tuple[str, tuple[float, ...], str], ...], ...] = (
    (("ring", (0.60, 0.34, 0.98, 0.76), DARK), ("round", (0.12, 0.20, 0.76, 0.98), BODY),
     ("ellipse", (0.14, 0.16, 0.74, 0.30), DARK)),  # mug
    (("rectangle", (0.46, 0.45, 0.54, 0.92), DARK), ("ellipse", (0.26, 0.88, 0.74, 1.00), DARK),
     ("polygon", (0.32, 0.02, 0.68, 0.02, 0.92, 0.52, 0.08, 0.52), BODY)),  # table lamp
    (("polygon", (0.00, 0.08, 0.50, 0.16, 1.00, 0.08, 0.92, 0.54, 1.00, 1.00, 0.50, 0.92, 0.00,
                  1.00, 0.08, 0.54), BODY), ("ellipse", (0.47, 0.50, 0.53, 0.57), DARK)),  # cushion
    (("ring", (0.30, 0.00, 0.70, 0.62), DARK),
     ("polygon", (0.08, 0.32, 0.92, 0.32, 1.00, 1.00, 0.00, 1.00), BODY)),  # tote bag
    (("round", (0.40, 0.00, 0.60, 0.14), DARK),
     ("polygon", (0.42, 0.14, 0.58, 0.14, 0.72, 0.34, 0.72, 1.00, 0.28, 1.00, 0.28, 0.34), BODY),
     ),  # water bottle
    (("round", (0.14, 0.02, 0.86, 1.00), BODY), ("rectangle", (0.14, 0.02, 0.26, 1.00), DARK),
     ("rectangle", (0.42, 0.16, 0.76, 0.34), LIGHT)),  # notebook
    (("ellipse", (0.02, 0.02, 0.98, 0.98), BODY), ("ellipse", (0.18, 0.18, 0.82, 0.82), LIGHT),
     ("rectangle", (0.48, 0.26, 0.52, 0.52), DARK), ("rectangle", (0.48, 0.48, 0.72, 0.52), DARK),
     ),  # wall clock
    (("polygon", (0.40, 0.00, 0.60, 0.00, 0.57, 0.24, 0.82, 0.56, 0.66, 1.00, 0.34, 1.00, 0.18,
                  0.56, 0.43, 0.24), BODY), ("ellipse", (0.40, -0.03, 0.60, 0.03), DARK)),  # vase
    (("pieslice", (0.00, 0.06, 1.00, 1.00), BODY), ("ellipse", (0.00, 0.44, 1.00, 0.62), LIGHT),
     ("rectangle", (0.36, 0.96, 0.64, 1.00), DARK)),  # salad bowl
    (("rectangle", (0.34, 0.34, 0.66, 1.00), BODY), ("rectangle", (0.49, 0.24, 0.51, 0.34), DARK),
     ("ellipse", (0.44, 0.06, 0.56, 0.28), LIGHT)),  # candle
    (("rectangle", (0.485, 0.40, 0.515, 0.96), DARK),
     ("pieslice-up", (0.00, 0.04, 1.00, 1.00), BODY), ("ring", (0.36, 0.86, 0.52, 1.00), DARK),
     ),  # umbrella
    (("rectangle", (0.06, 0.00, 0.94, 1.00), BODY), ("rectangle", (0.22, 0.16, 0.78, 0.84), LIGHT),
     ("polygon", (0.26, 0.80, 0.48, 0.42, 0.60, 0.62, 0.66, 0.54, 0.76, 0.80), DARK)),  # frame
)  # fmt: skip


def draw_picture(
    rng: Generator, shown: Floats, signs: Floats, redundant: Floats, kind: int
) -> Image.Image:
    """Draw one item.

    Args:
        rng: places the dots and tilts the stripes a little.
        shown: (5,), [z_v; B z_a].
        signs: (3,) of -1 and 1.
        redundant: (3,), z_r, the colour of the shelf.
        kind: index in `SHAPES`; z_r again.

    Returns:
        An RGB picture of `SIDE` x `SIDE` pixels.
    """
    hue, wall, size, stripes, dots = (_uniform(value) for value in shown)
    side = SIDE * SCALE
    picture = Image.new("RGB", (side, side), _wall(wall))
    pen = ImageDraw.Draw(picture)
    _draw_dots(pen, rng, round(MOST_DOTS * dots), _wall((wall + 0.5) % 1))
    shelf = np.clip(128 + 48 * redundant, 40, 216).round().astype(int)
    pen.rectangle((0, SHELF * side, side, side), fill=tuple(shelf.tolist()))
    plant, chequered, flags = (sign > 0 for sign in signs)
    (_draw_plant if plant else _draw_window)(pen, side)
    if chequered:
        _draw_chequers(pen, side)
    if flags:
        _draw_flags(pen, side)
    paints = {BODY: _product(hue), DARK: (45, 40, 48), LIGHT: (245, 240, 228)}
    width = side * (0.34 + 0.38 * size)
    box = (side / 2 - width / 2, SHELF * side + 6 - width, side / 2 + width / 2, SHELF * side + 6)
    pattern = _striped(side, round(MOST_STRIPES * stripes), paints[BODY], box, rng)
    for shape, points, paint in SHAPES[kind]:
        mask = Image.new("1", (side, side))
        _draw_shape(ImageDraw.Draw(mask), shape, _place(points, box))
        picture.paste(pattern if paint == BODY else paints[paint], mask=mask)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def _uniform(value: float) -> float:
    """A standard normal value to 0..1, uniform."""
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def _product(hue: float) -> Colour:
    """From blue over violet and red to yellow: red grows and blue shrinks all the way."""
    red, green, blue = colorsys.hsv_to_rgb((0.6 + 0.55 * hue) % 1, 0.8, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _wall(value: float) -> Colour:
    """From a dark blue over green and sand to a pale rose."""
    stops = np.array(
        [(28, 38, 72), (44, 104, 112), (158, 190, 150), (238, 222, 176), (252, 226, 226)]
    )
    place = np.clip(value, 0, 1) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    red, green, blue = stops[low] + (place - low) * (stops[low + 1] - stops[low])
    return round(red), round(green), round(blue)


def _draw_dots(pen: ImageDraw.ImageDraw, rng: Generator, count: int, colour: Colour) -> None:
    side = SIDE * SCALE
    for x, y in rng.uniform(0, 1, (count, 2)) * (side, SHELF * side):
        pen.ellipse((x - 9, y - 9, x + 9, y + 9), fill=colour)


def _draw_window(pen: ImageDraw.ImageDraw, side: int) -> None:
    left, top, right, bottom = (share * side for share in (0.04, 0.18, 0.26, 0.58))
    pen.rectangle((left, top, right, bottom), fill=(196, 226, 248), outline=(90, 60, 40), width=10)
    pen.line(((left + right) / 2, top, (left + right) / 2, bottom), fill=(90, 60, 40), width=8)
    pen.line((left, (top + bottom) / 2, right, (top + bottom) / 2), fill=(90, 60, 40), width=8)


def _draw_plant(pen: ImageDraw.ImageDraw, side: int) -> None:
    x, ground = 0.14 * side, SHELF * side
    for step in range(-4, 5):
        tip = (x + step * 0.03 * side, ground - (0.58 - 0.05 * abs(step)) * side)
        base = ground - 0.1 * side
        pen.polygon((x - 9, base, *tip, x + 9, base), fill=(30, 120 + 10 * step, 50))
    pen.polygon(
        (x - 40, ground - 60, x + 40, ground - 60, x + 28, ground, x - 28, ground),
        fill=(176, 92, 58),
    )


def _draw_chequers(pen: ImageDraw.ImageDraw, side: int) -> None:
    size = side * (1 - SHELF) / 4
    for row in range(4):
        for column in range(row % 2, int(side / size) + 1, 2):
            x, y = column * size, SHELF * side + row * size
            pen.rectangle((x, y, x + size, y + size), fill=(250, 248, 244))


def _draw_flags(pen: ImageDraw.ImageDraw, side: int) -> None:
    colours = ((214, 48, 49), (253, 203, 66), (9, 132, 227))
    width = side / 9
    for index in range(9):
        x = index * width
        points = (x, 0, x + width, 0, x + width / 2, 0.13 * side)
        pen.polygon(points, fill=colours[index % 3])


def _striped(side: int, count: int, colour: Colour, box: Box, rng: Generator) -> Image.Image:
    """The product's paint: its colour with `count` white stripes over the height of the box."""
    picture = Image.new("RGB", (side, side), colour)
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = box
    step = (bottom - top) / max(count, 1)
    thick = round(min(0.45 * step, 0.1 * (bottom - top)))
    tilt = rng.uniform(-0.1, 0.1) * (right - left)
    for index in range(count):
        y = top + (index + 0.5) * step
        pen.line((left, y - tilt, right, y + tilt), fill=(250, 248, 240), width=thick)
    return picture


def _place(points: tuple[float, ...], box: Box) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    return [
        (left + x * (right - left), top + y * (bottom - top))
        for x, y in zip(points[::2], points[1::2], strict=True)
    ]


def _draw_shape(pen: ImageDraw.ImageDraw, shape: str, points: list[tuple[float, float]]) -> None:
    width = points[1][0] - points[0][0]
    if shape == "polygon":
        pen.polygon(points, fill=1)
    elif shape == "rectangle":
        pen.rectangle(points, fill=1)
    elif shape == "round":
        pen.rounded_rectangle(points, radius=width * 0.14, fill=1)
    elif shape == "ring":
        pen.ellipse(points, outline=1, width=max(round(abs(width) * 0.16), 3))
    elif shape == "pieslice":
        pen.pieslice(points, 0, 180, fill=1)
    elif shape == "pieslice-up":
        pen.pieslice(points, 180, 360, fill=1)
    else:
        pen.ellipse(points, fill=1)
