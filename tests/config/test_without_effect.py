"""A setting that would change nothing is an error."""

import pytest
import yaml

from brmrs.config.load import parse
from brmrs.errors import UserError


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("ingest: {format: ready-made, path: x, metadata: y}", "ingest: metadata"),
        ("ingest: {format: ready-made, path: x, reviews: y, k: 3}", "ingest: reviews, k"),
        ("ingest: {format: ready-made, path: x, min_rating: 4}", "ingest: min_rating"),
        ("ingest: {reviews: y, path: x}", "ingest: path"),
        ("split: {protocol: given, held_out: 0.1}", "split: held_out"),
        ("split: {protocol: leave-last-out, held_out: 0.1}", "split: held_out"),
        ("split: {protocol: time, seed: 1}", "split: seed"),
        ("features: {text: {model: imported, long_texts: mean}}", "features.text: long_texts"),
        ("features: {text: {label: mine}}", "features.text: label"),
        ("features: {visual: {label: mine}}", "features.visual: label"),
        ("features: {visual: {backbone: imported, layer: x}}", "features.visual: layer"),
        ("features: {visual: {backbone: imported, seed: 1}}", "features.visual: seed"),
        ("features: {visual: {seed: 1}}", "features.visual: seed"),
        ("features: {visual: {training: {epochs: 3}}}", "features.visual: training"),
        (
            "features: {visual: {weights: random, precision: bf16}}",
            "features.visual: precision=bf16",
        ),
        ("graphs: {alpha: 1, beta: {text: 0.9}}", "graphs: beta"),
        ("graphs: {alpha: 0, co_occurrence: count}", "graphs: co_occurrence"),
    ],
)
def test_what_has_no_effect_is_refused(text: str, field: str) -> None:
    with pytest.raises(UserError, match="would have no effect") as fault:
        parse(yaml.safe_load(text), "c.yaml")
    assert str(fault.value).startswith(f"c.yaml: {field} would have no effect: ")


@pytest.mark.parametrize(
    "text",
    [
        "ingest: {format: ready-made, path: x}",
        "split: {protocol: time, held_out: 0.1}",
        "features: {text: {model: imported, label: mine}}",
        "features: {visual: {backbone: imported, label: mine}}",
        "features: {visual: {weights: byol, seed: 1, training: {epochs: 3}}}",
        "features: {visual: {weights: random, seed: 1}}",
        "graphs: {alpha: 1, co_occurrence: count}",
        "images: {fetch: false, rate: 3}",  # a limit holds where nothing is downloaded, too
    ],
)
def test_what_has_an_effect_is_taken(text: str) -> None:
    parse(yaml.safe_load(text), "c.yaml")
