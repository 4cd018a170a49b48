"""The sample's texts: titles and descriptions that show an item's text latents.

Each coordinate is cut into five levels with separate words. A level far from the middle has more
sentences. Each sign has two words, one for -1 and one for 1. Colours, sizes, patterns and the
surroundings of the product are not described: only pictures show them.
"""

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.random import Generator

from brmrs.sample.latent import CUTS, Floats

# (name, plural, department, brand), in the order of the shapes of `sample_pictures`. All items of a
# kind have one brand, because an invented name dominates a text embedding.
KINDS = (
    ("Mug", "Mugs", "Kitchen & Dining", "Alder & Finch"),
    ("Table Lamp", "Lamps", "Lighting", "Emberly"),
    ("Cushion", "Cushions", "Bedding & Textiles", "Fernhill"),
    ("Tote Bag", "Bags", "Bags & Travel", "Cobble Lane"),
    ("Water Bottle", "Bottles", "Sports & Outdoors", "Saltmarsh"),
    ("Notebook", "Notebooks", "Office & Stationery", "Inkwell"),
    ("Wall Clock", "Clocks", "Home Decor", "Northfold"),
    ("Vase", "Vases", "Home Decor", "Thistle"),
    ("Salad Bowl", "Bowls", "Kitchen & Dining", "Oakmere"),
    ("Candle", "Candles", "Home Fragrance", "Vesper"),
    ("Umbrella", "Umbrellas", "Rain Wear", "Kestrel"),
    ("Picture Frame", "Frames", "Wall Art", "Larkfield"),
)


@dataclass(frozen=True)
class Level:
    """The words of one level of a coordinate."""

    title: str
    sentences: tuple[str, str, str]


# One row per coordinate of [z_t; A z_a]: the hobby, the material, the occasion, the place it is
# made in, the theme of its collection.
COORDINATES: tuple[tuple[Level, ...], ...] = (
    (
        Level("for Gardeners", (
            "Made for gardeners who love soil, seeds and tomatoes.",
            "It is at home in the greenhouse, beside the roses and the watering can.",
            "A gardening favourite from spring planting to harvest.")),
        Level("for Home Cooks", (
            "Made for home cooks who bake bread and simmer soups.",
            "It belongs in a busy kitchen full of recipes and spices.",
            "Cooking and baking friends will ask where you found it.")),
        Level("for Readers", (
            "Made for readers of long novels.",
            "It suits a library, a bookshelf and a quiet chapter before bed.",
            "Book clubs and bookworms adore it.")),
        Level("for Cyclists", (
            "Made for cyclists who ride in every weather.",
            "It fits a bicycle commute, a mountain bike trail and a race day.",
            "Bike clubs and cycling teams carry it along.")),
        Level("for Gamers", (
            "Made for gamers who play video games all night.",
            "It stands beside the console, the keyboard and the headset.",
            "E-sports fans and gaming streamers show it on camera.")),
    ),
    (
        Level("Wool", (
            "Soft knitted wool keeps it warm to the touch.",
            "The wool is spun from merino sheep and felted twice.",
            "Cosy wool yarn throughout.")),
        Level("Bamboo", (
            "Light natural bamboo, sanded smooth.",
            "The bamboo wood is grown without pesticides and oiled by hand.",
            "Solid bamboo throughout.")),
        Level("Ceramic", (
            "Glazed ceramic, fired in a kiln.",
            "The stoneware clay is thrown on a potter's wheel.",
            "Fine porcelain throughout.")),
        Level("Leather", (
            "Full-grain leather that ages well.",
            "The leather is vegetable tanned and stitched by a saddler.",
            "Genuine hide throughout.")),
        Level("Steel", (
            "Brushed stainless steel, hard as an engine.",
            "The steel is welded, riveted and resistant to rust.",
            "Heavy industrial metal throughout.")),
    ),
    (
        Level("Christmas Gift", (
            "A Christmas gift to put under the tree.",
            "Santa, snow and carols come to mind during the holidays.",
            "Wrapped for Christmas Eve.")),
        Level("Birthday Gift", (
            "A birthday gift for the day with cake and balloons.",
            "Birthday parties are where it is unwrapped.",
            "Comes with a birthday card.")),
        Level("Everyday", (
            "Meant for every day.",
            "Nothing special to wait for, use it on a Tuesday.",
            "An everyday companion.")),
        Level("Wedding Gift", (
            "A wedding gift for bride and groom.",
            "Newlyweds keep it as a memory of the marriage and the dance.",
            "Comes with a ribbon for the wedding table.")),
        Level("Halloween", (
            "For Halloween, with a spooky smile.",
            "Ghosts, witches and pumpkins would choose it for a haunted house.",
            "A scary trick or treat surprise.")),
    ),
    (
        Level("from Japan", (
            "Made in Japan by a workshop in Kyoto.",
            "Japanese tea houses and Tokyo designers inspired it.",
            "It follows the Japanese idea of wabi-sabi.")),
        Level("from Mexico", (
            "Made in Mexico by artisans of Oaxaca.",
            "Mexican markets and fiestas inspired it.",
            "It carries the spirit of a Mexican plaza.")),
        Level("from Italy", (
            "Made in Italy, in a family workshop near Florence.",
            "Italian piazzas and espresso bars inspired it.",
            "It has Italian style.")),
        Level("from Sweden", (
            "Made in Sweden, on the coast near Gothenburg.",
            "Scandinavian hygge and Nordic winters inspired it.",
            "It has Swedish simplicity.")),
        Level("from Morocco", (
            "Made in Morocco, in the souk of Marrakesh.",
            "Moroccan riads and the Sahara inspired it.",
            "It carries the spirit of North Africa.")),
    ),
    (
        Level("Sea & Sail Collection", (
            "Part of the Sea & Sail collection.",
            "Think of whales, waves, sailors and a lighthouse by the sea.",
            "Part of the price protects coral reefs and marine life.")),
        Level("Forest Collection", (
            "Part of the Forest collection.",
            "Think of deer, moss, pine trees and mushrooms in the woods.",
            "Part of the price plants oak trees.")),
        Level("City Collection", (
            "Part of the City collection.",
            "Think of streets, cafes and trams.",
            "Part of the price goes to a city park.")),
        Level("Music Collection", (
            "Part of the Music collection.",
            "Think of jazz, guitars, vinyl records and a concert.",
            "Part of the price funds a school orchestra.")),
        Level("Space Collection", (
            "Part of the Space collection.",
            "Think of rockets, planets, astronauts and galaxies.",
            "Part of the price funds an observatory's telescope.")),
    ),
)  # fmt: skip

# One row per text sign: the word of the title and a sentence, for -1 and for 1.
SIGNS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("Indoor", "For indoor use only, in heated rooms and behind closed windows."),
     ("Outdoor", "For outdoor use in rain, wind and sun, on camping trips and terraces.")),
    (("Kids", "For toddlers and small children, loved in every nursery and playground."),
     ("Business", "For adults in offices, banks and business meetings.")),
    (("Luxury", "A luxury piece, expensive and exclusive, trimmed with real gold."),
     ("Budget", "A cheap bargain for students, on sale at a low price.")),
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
    """The text of an item's page."""

    title: str
    description: list[str]
    features: list[str]
    brand: str
    categories: list[str]


def write_words(rng: Generator, shown: Floats, signs: Floats, kind: int) -> Words:
    """Describe one item.

    Args:
        rng: chooses the order of sentences.
        shown: (5,), [z_t; A z_a].
        signs: (3,) of -1 and 1.
        kind: index in `KINDS`.
    """
    name, plural, department, brand = KINDS[kind]
    levels = [
        coordinate[int(np.searchsorted(CUTS, value))]
        for coordinate, value in zip(COORDINATES, shown, strict=True)
    ]
    hobby, material, occasion, place, theme = (level.title for level in levels)
    uses = [pair[int(sign > 0)] for pair, sign in zip(SIGNS, signs, strict=True)]
    sentences = [
        sentence
        for level, value in zip(levels, shown, strict=True)
        for sentence in level.sentences[: _times(value)]
    ]
    sentences += [sentence for _, sentence in uses]
    words = " ".join(word for word, _ in uses)
    title = f"{words} {material} {name} {hobby}, {theme}"
    return Words(
        title=escape(title, quote=False),  # &amp;, as dumps do
        description=[" ".join(sentences[index] for index in rng.permutation(len(sentences)))],
        features=[f"{occasion}, {place}"],
        brand=brand,
        categories=["Home & Gifts", department, plural],
    )


def _times(value: float) -> int:
    """The number of sentences for a coordinate: 1 in the middle, up to 3 far out."""
    return 1 + int(abs(value) > CUTS[2]) + int(abs(value) > CUTS[3])
