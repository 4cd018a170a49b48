"""Figures of the diagnosis about negatives: margins, quadrants, samplers."""

from brmrs.columns import FUSED, MODALITIES
from brmrs.diagnosis import schemas
from brmrs.report import figures
from brmrs.report.estimates import cells_of, grouped, percent
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, number, sentence

QUADRANT_NAMES = {
    schemas.BOTH_SEPARATE: "both separate",
    schemas.TEXT_SEPARATES: "text separates, picture confuses",
    schemas.VISUAL_SEPARATES: "picture separates, text confuses",
    schemas.NEITHER_SEPARATES: "neither separates",
}
QUADRANT_COLOURS = dict(
    zip(QUADRANT_NAMES.values(), ("grid", "text", "visual", "ink"), strict=True)
)
NEGATIVE_NAMES = {
    schemas.ABOVE: "above the held-out item",
    schemas.UNIFORM: "uniform",
    schemas.HARDEST_BY_TEXT: "hardest by text",
    schemas.HARDEST_BY_VISUAL: "hardest by picture",
}


def histogram(inputs: Inputs) -> figures.Figure:
    """The margins of the negatives above, text against picture."""
    names = (schemas.TEXT_LOW, schemas.TEXT_HIGH, schemas.VISUAL_LOW, schemas.VISUAL_HIGH)
    kept = [
        row
        for row in inputs.margins.rows(named=True)
        if row[schemas.NEGATIVE_KIND] == schemas.ABOVE
    ]
    total = sum(row[schemas.COUNT] for row in kept) or 1
    corners = ("x0", "x1", "y0", "y1")
    rows = [
        {
            **{corner: row[name] for corner, name in zip(corners, names, strict=True)},
            "share": row[schemas.COUNT] / total,
        }
        for row in kept
    ]
    shares = inputs.diagnosis["quadrants"][schemas.ABOVE]
    text = sentence(
        "Each cell holds negatives that rank above the held-out item; the outer cells hold all "
        "margins beyond. Right of the vertical line the text separates them from it, above the "
        "horizontal line the picture does: {} only the text, {} only the picture.",
        *(
            percent(f"quadrants.{schemas.ABOVE}.{name}.value", shares[name])
            for name in (schemas.TEXT_SEPARATES, schemas.VISUAL_SEPARATES)
        ),
    )
    cells = [
        [called, *cells_of(f"quadrants.{schemas.ABOVE}.{name}", shares[name], "percent")]
        for name, called in QUADRANT_NAMES.items()
    ]
    unit = "in standard deviations"
    return figures.figure(
        "margins",
        "Margins of the negatives that rank above",
        figures.density(rows, f"text margin, {unit}", f"visual margin, {unit}"),
        text,
        Table(["quadrant", "share", "95 % interval"], cells),
    )


def quadrants(inputs: Inputs) -> figures.Figure:
    """The quadrants of all kinds of negatives."""
    found = inputs.diagnosis["quadrants"]
    rows, cells = [], []
    for kind, called in NEGATIVE_NAMES.items():
        each = found[kind]
        rows += [
            {
                "group": called,
                "series": name,
                "share": each[quadrant]["value"] or 0.0,
                "place": place,
            }
            for place, (quadrant, name) in enumerate(QUADRANT_NAMES.items())
        ]
        cells.append(
            [
                called,
                *(
                    number(f"quadrants.{kind}.{quadrant}.value", each[quadrant]["value"], "percent")
                    for quadrant in QUADRANT_NAMES
                ),
            ]
        )
    text = sentence(
        "Neither modality separates {} of uniform negatives, {} of those that are hardest by text "
        "and {} of those that are hardest by picture.",
        *(
            percent(
                f"quadrants.{kind}.{schemas.NEITHER_SEPARATES}.value",
                found[kind][schemas.NEITHER_SEPARATES],
            )
            for kind in schemas.SAMPLERS
        ),
    )
    return figures.figure(
        "quadrants",
        "Which modality separates a negative from the held-out item",
        figures.shares(rows, "share of the negatives", QUADRANT_COLOURS),
        text,
        Table(["negatives", *QUADRANT_NAMES.values()], cells),
    )


def samplers(inputs: Inputs) -> figures.Figure:
    """Margins against the negatives of each sampler, and their false negatives."""
    found = inputs.diagnosis["samplers"]
    rows, cells = [], []
    for sampler in schemas.SAMPLERS:
        each, key = found[sampler], f"samplers.{sampler}"
        for branch in (FUSED, *MODALITIES):
            margin = each["margin"][branch]
            if margin["value"] is not None:
                rows.append(grouped(NEGATIVE_NAMES[sampler], branch, margin))
        cells.append(
            [
                NEGATIVE_NAMES[sampler],
                *(
                    number(f"{key}.margin.{branch}", each["margin"][branch]["value"], "short")
                    for branch in (FUSED, *MODALITIES)
                ),
                number(f"{key}.not_separated", each["not_separated"][FUSED]["value"], "percent"),
                number(f"{key}.false_negatives", each["false_negatives"], "percent"),
            ]
        )
    text = sentence(
        "Mean margins in standard deviations: against the negative that is hardest by text, {} in "
        "the text branch and {} in the visual branch; against a uniform one, {} and {}. CHNS gives "
        "each branch the hardest negatives of the other.",
        *(
            number(
                f"samplers.{sampler}.margin.{branch}",
                found[sampler]["margin"][branch]["value"],
                "short",
            )
            for sampler in (schemas.HARDEST_BY_TEXT, schemas.UNIFORM)
            for branch in MODALITIES
        ),
    )
    heads = ["margin, fused", "margin, text", "margin, visual", "not separated", "false negatives"]
    return figures.figure(
        "samplers",
        "How hard the samplers' negatives are",
        figures.grouped(rows, "mean margin, in standard deviations"),
        text,
        Table(["negatives", *heads], cells),
    )
