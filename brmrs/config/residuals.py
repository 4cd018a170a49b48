"""`model.residuals`: scores that are added to a trained model's."""

from typing import Self

from pydantic import Field, model_validator

from brmrs.columns import RESIDUALS
from brmrs.config.section import Section, Share, Weight
from brmrs.config.without_effect import refuse


class ResidualsConfig(Section):
    """Scores that are added to the trained model's: closed forms, and a second trained model.

    The model's score and each of these are standardised per user over all items. A weight is
    relative to the model's, which is 1; a score with weight 0 is left out.
    """

    ease: Weight = 0.0
    """Weight of EASE, the ridge regression of each item on the others (Steck 2019)."""
    ease_history: Weight = 0.0
    """c of the model content-ease: weight of the nearest neighbours, by text or picture, of the
    user's items in EASE."""
    ease_candidates: Weight = 0.0
    """d of the model content-ease: weight of the nearest neighbours of a candidate in EASE."""
    neighbours: Weight = 0.0
    """Weight of R K: the cosines of an item with the user's items that have it among their nearest
    neighbours by text or picture."""
    graph_filter: Weight = 0.0
    """Weight of R R' R, each R symmetrically normalised by the degrees of users and items."""
    ssc: Weight = 0.0
    """Weight of the model ssc, which is trained after the model: the sum is an ensemble of two
    trained models. It takes the settings of `train`, but draws users and has its own learning
    rate, as in configs/models/ssc.yaml."""
    search: bool = False
    """Whether a coordinate search on the validation split changes the weights; those given are its
    start."""
    ridge: float = Field(200.0, gt=0)
    """Ridge penalty of EASE."""
    visual_weight: Share = 0.1
    """Weight of the pictures' neighbours in K and in the model ssc; the texts' have the rest. No
    effect where only one modality has neighbours."""

    @property
    def weights(self) -> dict[str, float]:
        """The weights above 0, by branch name, in the order of `columns.RESIDUALS`."""
        given = (self.ease, self.neighbours, self.graph_filter, self.ssc)
        return {name: w for name, w in zip(RESIDUALS, given, strict=True) if w > 0}

    @property
    def reading_neighbours(self) -> list[str]:
        """The fields above 0 that read the nearest neighbours by text and picture."""
        names = ("ease_history", "ease_candidates", "neighbours", "ssc")
        return [name for name in names if getattr(self, name) > 0]

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if not self.weights:
            refuse(self, ("search",), "every weight is 0; the search starts from those given")
        if self.ease == 0:
            refuse(self, ("ridge", "ease_history", "ease_candidates"), "ease is 0")
        if not self.reading_neighbours:
            refuse(self, ("visual_weight",), "nothing reads the neighbours")
        return self
