"""Case studies of items that lack a modality."""

from typing import Any

import pytest

from brmrs.report.cases import _both_have_all, _has_losses, _losses, _terms, _text

ROW: dict[str, Any] = {
    "confuses": "text",
    "negative": 3,
    "text_rank": 40,
    "visual_rank": 2,
    "fused_rank": 25,
    "text_score": 0.5,
    "visual_score": 1.0,
    "fused_score": 1.5,
    "negative_text_score": 1.0,
    "negative_visual_score": 0.5,
    "negative_fused_score": 1.6,
    "negative_text_cosine": 0.9,
    "negative_visual_cosine": 0.1,
}
MODEL = {"name": "br-mrs", "chns": 0.5, "synergy": 0.5, "theta": 0.1, "sampler": "cross-modal"}


def test_the_synergy_loss_of_a_pair() -> None:
    table = _losses("case", ROW, _terms(MODEL))
    assert table is not None
    (_, argument, *_) = table.rows[1]
    # Delta_f - max(Delta_t, Delta_v) - theta
    assert f'value="{(1.5 - 1.6) - max(-0.5, 0.5) - 0.1!r}"' in argument


@pytest.mark.parametrize("missing", ["negative_text_cosine", "negative_visual_cosine"])
def test_no_loss_is_shown_where_an_item_lacks_a_modality(missing: str) -> None:
    """The losses leave such a modality out, so a margin of it would not be what they see."""
    row = {**ROW, missing: None}
    assert _both_have_all(ROW)
    assert not _both_have_all(row)
    assert "no loss is shown" in _text(row)
    assert "no loss is shown" not in _text(ROW)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "x", "objective": "bpr"},
        {"name": "x", "chns": "<b>", "synergy": None},
        {"name": "x", "synergy": 1.0},
    ],
)
def test_settings_of_another_kind_are_no_losses(model: dict[str, Any]) -> None:
    assert _losses("case", ROW, _terms(model)) is None
    assert isinstance(_has_losses(model), bool)
