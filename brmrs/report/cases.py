"""Case studies: two held-out items for each kind of failure, with the pictures and the scores.

Of each kind the clearest cases are taken, so they illustrate and do not count anything.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from brmrs import columns
from brmrs.columns import FUSED, ITEM, MODALITIES, TEXT, TRAIN, USER, VISUAL
from brmrs.diagnosis import schemas
from brmrs.report.gallery import Card, Gallery
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import Table, number
from brmrs.report.page import Section, section

PER_KIND = 2
HISTORY = 6
WORDS = {TEXT: "text", VISUAL: "picture"}
OTHER = {TEXT: VISUAL, VISUAL: TEXT}


@dataclass(frozen=True)
class Case:
    """One held-out item of one user.

    Attributes:
        user_id: raw id.
        history: the first training items.
        positive: the held-out item.
        negative: the first item of the fused list that exactly one modality confuses; None without.
        scores: rank, score and margin in each branch.
        losses: what each loss term would be for this negative; None without one.
        text: what one sees.
    """

    user_id: str
    history: list[Card]
    positive: Card
    negative: Card | None
    scores: Table
    losses: Table | None
    text: str


def cases(inputs: Inputs, gallery: Gallery) -> Section | None:
    """Two cases per kind; None for a model without two unimodal branches, or without any case."""
    if inputs.diagnosis["cannot"]:
        return None
    taken: set[int] = set()
    kinds = []
    for title, text, rows in _kinds(inputs.pairs, inputs.diagnosis["k"]):
        chosen = [row for row in rows.rows(named=True) if row[USER] not in taken][:PER_KIND]
        taken |= {row[USER] for row in chosen}
        if chosen:
            kinds.append((title, text, [_case(inputs, gallery, row) for row in chosen]))
    if not kinds:
        return None
    return section("cases", "Case studies", kinds=kinds, terms=_has_losses(inputs.bundle["model"]))


def _kinds(pairs: pl.DataFrame, k: int) -> list[tuple[str, str, pl.DataFrame]]:
    """Title, meaning and pairs of each kind, the clearest case first."""
    missed = pairs.filter(pl.col("fused_rank") > k)
    found = []
    for modality, word in WORDS.items():
        other = OTHER[modality]
        alike = pl.col(f"negative_{modality}_cosine") - pl.col(f"negative_{other}_cosine")
        rows = missed.filter(pl.col(schemas.CONFUSES) == modality)
        found.append(
            (
                f"The {word} confuses",
                f"The fusion ranks another item higher than the held-out one. The {word} does not "
                f"separate the two; the {WORDS[other]} does.",
                rows.sort(alike, USER, ITEM, descending=[True, False, False], nulls_last=True),
            )
        )
    best = pl.min_horizontal("text_rank", "visual_rank")
    lost = pairs.filter(pl.col(schemas.SET) == schemas.DEGENERATION)
    own = pairs.filter(pl.col(schemas.SET) == schemas.SYNERGY)
    order: dict[str, Any] = {"descending": [True, False, False]}
    found += [
        (
            "A branch finds it, the fusion does not",
            f"The item is in the first {k} of a branch, and further back in the fused list.",
            lost.sort(pl.col("fused_rank") - best, USER, ITEM, **order),
        ),
        (
            "Only the fusion finds it",
            f"No failure: the item is in the fused first {k}, and in neither branch's.",
            own.sort(best - pl.col("fused_rank"), USER, ITEM, **order),
        ),
    ]
    return found


def _case(inputs: Inputs, gallery: Gallery, row: dict[str, Any]) -> Case:
    user, item, negative = row[USER], row[ITEM], row[schemas.NEGATIVE]
    own = inputs.split.filter((pl.col(USER) == user) & (pl.col(columns.SPLIT) == TRAIN))
    key = f"case.{user}.{item}"
    return Case(
        inputs.users[columns.USER_ID][user],
        [gallery.card(each) for each in own[ITEM].to_list()[:HISTORY]],
        gallery.card(item, mark="held out"),
        None if negative is None else gallery.card(negative),
        _scores(key, row),
        _losses(key, row, _terms(inputs.bundle["model"])) if _both_have_all(row) else None,
        _text(row),
    )


def _both_have_all(row: dict[str, Any]) -> bool:
    """Whether there is a negative, and it and the held-out item have text and picture.

    Both losses leave out a modality that an item lacks, so they are not shown for such items.
    """
    return all(row[f"negative_{modality}_cosine"] is not None for modality in MODALITIES)


def _scores(key: str, row: dict[str, Any]) -> Table:
    with_negative = row[schemas.NEGATIVE] is not None
    head = ["branch", "rank", "held-out item"]
    rows = []
    for branch in (TEXT, VISUAL, FUSED):
        score, other = row[f"{branch}_score"], row[f"negative_{branch}_score"]
        cells = [
            branch,
            number(f"{key}.{branch}.rank", row[f"{branch}_rank"], "count"),
            number(f"{key}.{branch}.score", score, "score"),
        ]
        if with_negative:
            cells += [
                number(f"{key}.{branch}.negative", other, "score"),
                number(f"{key}.{branch}.margin", score - other, "score"),
            ]
        if with_negative and branch in MODALITIES:
            cosine = row[f"negative_{branch}_cosine"]
            cells.append(number(f"{key}.{branch}.cosine", cosine, "short"))
        rows.append(cells + [""] * (6 - len(cells) if with_negative else 0))
    if with_negative:
        head += ["confusing item", "margin", "cosine of the two"]
    return Table(head, rows)


def _text(row: dict[str, Any]) -> str:
    """What one sees, in words."""
    confuses = row[schemas.CONFUSES]
    ranks = {name: row[f"{name}_rank"] for name in (TEXT, VISUAL, FUSED)}
    text = (
        f"The held-out item is on rank {ranks[TEXT]} of the text branch, {ranks[VISUAL]} of the "
        f"visual branch and {ranks[FUSED]} of their fusion."
    )
    if confuses is not None:
        text += (
            f" The fusion ranks the item beside it higher: the {WORDS[confuses]} branch prefers "
            f"that item, the {WORDS[OTHER[confuses]]} branch does not."
        )
        if not _both_have_all(row):
            text += " One of the two items lacks a text or a picture: no loss is shown for them."
    return text


def _terms(model: dict[str, Any]) -> dict[str, float]:
    """Weights of CHNS and of the synergy loss, and theta; empty for a model without them.

    CHNS is left out with another sampler: it trains against other negatives than the case shows.
    """
    fields = model if "chns" in model else model.get("objective")
    if not isinstance(fields, Mapping):
        return {}
    crossed = fields.get("sampler", "cross-modal") == "cross-modal"
    names = ("chns", "synergy", "theta") if crossed else ("synergy", "theta")
    return {name: fields[name] for name in names if isinstance(fields.get(name), int | float)}


def _has_losses(model: dict[str, Any]) -> bool:
    """Whether the cases show a loss, as the model is trained with one."""
    terms = _terms(model)
    return bool(terms.get("chns") or terms.get("synergy"))


def _losses(key: str, row: dict[str, Any], terms: dict[str, float]) -> Table | None:
    """The terms of this triple, each with the share of its largest gradient."""
    margins = {
        name: row[f"{name}_score"] - row[f"negative_{name}_score"] for name in (TEXT, VISUAL, FUSED)
    }
    found = []
    if terms.get("chns"):
        # The modality that is confused picks the negative, the other one learns from it.
        learns = OTHER[row[schemas.CONFUSES]]
        found.append(
            (
                f"CHNS, in the {WORDS[learns]} branch",
                "chns",
                margins[learns],
                f"picked by the {WORDS[row[schemas.CONFUSES]]}: pulls the margin of the "
                f"{WORDS[learns]} up",
            )
        )
    if terms.get("synergy") and "theta" in terms:
        better = max(margins[TEXT], margins[VISUAL])
        found.append(
            (
                "synergy",
                "synergy",
                margins[FUSED] - better - terms["theta"],
                "pulls the fused margin above that of the better branch",
            )
        )
    rows = [
        [
            name,
            number(f"{key}.{part}.argument", value, "score"),
            number(f"{key}.{part}.loss", _softplus(-value), "decimal"),
            number(f"{key}.{part}.pull", _sigmoid(-value), "percent"),
            meaning,
        ]
        for name, part, value, meaning in found
    ]
    head = ["loss", "x", "-log sigma(x)", "pull", ""]
    return Table(head, rows) if rows else None


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
