"""The sample's words: titles and descriptions that show an item's text latents.

Each coordinate runs between two poles (from gardening to gaming, from wool to steel) and is told
in three sentences; the further up it lies, the more of them are of the upper pole. So the nearness
of texts follows that of latents. Colours, sizes and patterns are never told: pictures show them.
"""

from dataclasses import dataclass
from html import escape

from numpy.random import Generator

from brmrs.ingest.sample_latent import Floats

# Sentence j is of the upper pole where the coordinate, standard normal, is above CUTS[j].
CUTS = (-0.7, 0.0, 0.7)

# (name, plural, department), in the order of the shapes of `sample_pictures`.
KINDS = (
    ("Mug", "Mugs", "Kitchen & Dining"),
    ("Table Lamp", "Lamps", "Lighting"),
    ("Cushion", "Cushions", "Bedding & Textiles"),
    ("Tote Bag", "Bags", "Bags & Travel"),
    ("Water Bottle", "Bottles", "Sports & Outdoors"),
    ("Notebook", "Notebooks", "Office & Stationery"),
    ("Wall Clock", "Clocks", "Home Decor"),
    ("Vase", "Vases", "Home Decor"),
    ("Salad Bowl", "Bowls", "Kitchen & Dining"),
    ("Candle", "Candles", "Home Fragrance"),
    ("Umbrella", "Umbrellas", "Rain Wear"),
    ("Picture Frame", "Frames", "Wall Art"),
)


@dataclass(frozen=True)
class Pole:
    """How one end of a coordinate is told."""

    title: str
    sentences: tuple[str, str, str]


# One pair per coordinate of [z_t; A z_s]: the hobby, the material, the occasion, the place it is
# made in, the theme of its collection.
COORDINATES: tuple[tuple[Pole, Pole], ...] = (
    (
        Pole("for Gardeners", (
            "Gardeners love it beside their tomatoes and roses.",
            "At home in the greenhouse.",
            "A favourite from planting to harvest.")),
        Pole("for Gamers", (
            "Video gamers love it beside their console.",
            "At home in every e-sports arena.",
            "A favourite of streamers and their headsets.")),
    ),
    (
        Pole("Wool", (
            "Soft knitted wool, warm to the touch.",
            "Spun from merino sheep.",
            "Felted twice, like a cosy sweater.")),
        Pole("Steel", (
            "Hard stainless steel, cold to the touch.",
            "Welded and riveted like an engine.",
            "Industrial metal that never rusts.")),
    ),
    (
        Pole("Wedding Gift", (
            "A wedding gift for bride and groom.",
            "Newlyweds keep it for their anniversary.",
            "Tied with a ribbon of romance.")),
        Pole("Halloween Special", (
            "A Halloween treat for witches and ghosts.",
            "Spooky people keep it in a haunted house.",
            "Comes with a scary pumpkin.")),
    ),
    (
        Pole("from Japan", (
            "Made in Japan by a workshop in Kyoto.",
            "Inspired by Japanese tea houses.",
            "Tokyo designers call it wabi-sabi.")),
        Pole("from Mexico", (
            "Made in Mexico by artisans of Oaxaca.",
            "Inspired by Mexican fiestas.",
            "Mariachi bands sing of it on the plaza.")),
    ),
    (
        Pole("Ocean Collection", (
            "Think of whales, waves and sailors.",
            "Each sale protects a coral reef.",
            "Named after a lighthouse by the sea.")),
        Pole("Space Collection", (
            "Think of rockets, planets and astronauts.",
            "Each sale funds an observatory.",
            "Named after a distant galaxy.")),
    ),
)  # fmt: skip

BRANDS = (
    "Alder & Finch", "Bluecrest", "Cobble Lane", "Dovetail", "Emberly", "Fernhill", "Goodwick",
    "Harrow & Pine", "Inkwell", "Juniper Row", "Kestrel", "Larkfield", "Mossbrook", "Northfold",
    "Oakmere", "Pebble & Co", "Quillon", "Rowanberry", "Saltmarsh", "Thistle", "Umberto",
    "Vesper", "Willowby", "Yarrow",
)  # fmt: skip

PRAISE = {
    5: ("Love it", "Exactly what I hoped for.", "Perfect, would buy again."),
    4: ("Very nice", "Good quality, delivery took a while.", "Nearly perfect."),
    3: ("It is okay", "Does what it should, no more.", "Not bad."),
    2: ("Disappointed", "Not as good as I expected.", "I would not buy it again."),
    1: ("Arrived broken", "Returned it.", "Waste of money."),
}


@dataclass(frozen=True)
class Words:
    """What a page of the shop says."""

    title: str
    description: list[str]
    features: list[str]
    brand: str
    categories: list[str]


def write_words(rng: Generator, shown: Floats, kind: int) -> Words:
    """Tell one item.

    Args:
        rng: chooses the brand and the order of sentences.
        shown: (5,), [z_t; A z_s].
        kind: index in `KINDS`.
    """
    name, plural, department = KINDS[kind]
    coordinates = list(zip(COORDINATES, shown.tolist(), strict=True))
    hobby, material, occasion, place, theme = (
        poles[value > CUTS[1]].title for poles, value in coordinates
    )
    told = [
        poles[value > cut].sentences[index]
        for poles, value in coordinates
        for index, cut in enumerate(CUTS)
    ]
    brand = BRANDS[rng.integers(len(BRANDS))]
    return Words(
        title=escape(f"{brand} {material} {name} {hobby}, {theme}", quote=False),  # as dumps do
        description=[" ".join(told[index] for index in rng.permutation(len(told)))],
        features=[f"{occasion}, {place}"],
        brand=brand,
        categories=["Home & Gifts", department, plural],
    )
