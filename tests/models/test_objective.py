"""The plug-in objective by hand, and on every model that takes it."""

from typing import Any

import pytest
import torch
from checkerboard import make_data, sample, train
from six_by_five import TRIPLES, data, in_double
from torch import Tensor
from torch.nn.functional import logsigmoid

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.load import parse
from brmrs.config.models import ModelSection, ObjectiveConfig, takes_objective
from brmrs.config.models import section as section_of_model
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.models.base import Branch
from brmrs.models.objective import Objective

pytestmark = pytest.mark.usefixtures("one_thread")
TAKES = takes_objective()
# One user's positive, and a pool of two: text finds the second hard, the picture the first.
SCORES = {
    FUSED: torch.tensor([[2.0, 1.5, 0.0]]),
    TEXT: torch.tensor([[1.0, 0.0, 0.75]]),
    VISUAL: torch.tensor([[0.5, 0.25, -1.0]]),
}


def objective(**values: Any) -> Objective:
    return Objective.of(ObjectiveConfig(**values), (TEXT, VISUAL))


def section(name: str, **values: Any) -> ModelSection:
    return section_of_model(name).model_validate(values)


def minus_log_sigma(x: float) -> Tensor:
    return -logsigmoid(torch.tensor(x))


def test_terms_by_hand() -> None:
    terms = objective(bpr=2.0, chns=0.5, synergy=0.25, theta=0.1).terms(SCORES, {})
    assert list(terms) == ["bpr", "chns", "synergy"]
    torch.testing.assert_close(terms["bpr"], 2 * minus_log_sigma(0.5))
    # text against the first (1 - 0), the picture against the second (0.5 + 1)
    torch.testing.assert_close(terms["chns"], (minus_log_sigma(1.0) + minus_log_sigma(1.5)) / 2)
    # margins on the first: 0.5 of all, 1 of text, 0.25 of the picture
    torch.testing.assert_close(terms["synergy"], minus_log_sigma(0.5 - 1 - 0.1) / 4)


def test_own_modality_and_uniform_negatives() -> None:
    own = objective(bpr=0.0, chns=1.0, sampler="own-modality").terms(SCORES, {})
    torch.testing.assert_close(own["chns"], minus_log_sigma(0.25) + minus_log_sigma(0.25))
    uniform = objective(bpr=0.0, chns=1.0, sampler="uniform").terms(SCORES, {})
    torch.testing.assert_close(uniform["chns"], minus_log_sigma(1.0) + minus_log_sigma(0.25))


def test_a_positive_without_text_asks_nothing_of_the_text_branch() -> None:
    has = {TEXT: torch.tensor([[False, True, True]])}
    terms = objective(bpr=0.0, chns=1.0).terms(SCORES, has)
    torch.testing.assert_close(terms["chns"], minus_log_sigma(1.5))


def test_the_pool_is_drawn_for_chns_alone() -> None:
    drawn = [
        objective(pool=4, **weights).drawn for weights in ({}, {"synergy": 1.0}, {"chns": 1.0})
    ]
    assert drawn == [1, 1, 4]
    assert not objective().of_branches


@pytest.mark.parametrize("name", TAKES)
def test_a_batch_is_scored_by_the_branches_that_rank(name: str) -> None:
    weights = {"chns": 0.3, "synergy": 0.2, "theta": 0.1}
    model = registry.build(section(name, dim=4, objective=weights), data(), seed=0)
    in_double(model)
    assert model.n_negatives == 2
    found = model.loss(TRIPLES, torch.Generator())
    users, items = TRIPLES.users.unsqueeze(1), TRIPLES.triples
    scores = {}
    for name, branch in model.branches().items():
        assert isinstance(branch, Branch)
        scores[name] = (branch.p[users] * branch.q[items]).sum(dim=-1)
    has = {m: present[items] for m, present in data().present.items()}
    for term, value in objective(**weights).terms(scores, has).items():
        torch.testing.assert_close(found[term], value, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", TAKES)
def test_every_model_learns_by_it(name: str) -> None:
    board = make_data()
    weights = {"bpr": 0.0, "chns": 0.5, "synergy": 0.5}
    model = registry.build(section(name, dim=16, objective=weights), board, seed=0)
    batch = sample(board, model.n_negatives, torch.Generator().manual_seed(0))
    assert {"chns", "synergy"} <= set(model.loss(batch, torch.Generator()))
    curve = train(model, board, 20)
    assert sum(curve[-5:]) < sum(curve[:5])


@pytest.mark.parametrize("name", TAKES)
def test_one_modality_alone_is_refused_in_one_line(name: str) -> None:
    config = section(name, objective={"chns": 0.3})
    with pytest.raises(UserError, match="the data have no visual") as error:
        registry.build(config, make_data((TEXT,)), seed=0)
    assert "\n" not in str(error.value)


def test_five_models_take_it_and_the_others_refuse() -> None:
    assert TAKES == ["dualgnn", "freedom", "grcn", "lattice", "mmgcn"]
    with pytest.raises(UserError, match=r"lightgcn has no text .*; dualgnn, .*mmgcn have"):
        parse({"model": {"name": "lightgcn", "objective": {"chns": 0.3}}}, "x.yaml")
    with pytest.raises(UserError, match=r"br-mrs has these fields itself, such as model\.chns"):
        parse({"model": {"name": "br-mrs", "objective": {"chns": 0.3}}}, "x.yaml")
    with pytest.raises(UserError, match=r"model\.chns: .*did you mean model\.objective\.chns"):
        parse({"model": {"name": "lattice", "chns": 0.3}}, "x.yaml")
    with pytest.raises(UserError, match=r"model\.objective\.chsn: .*did you mean chns"):
        parse({"model": {"name": "lattice", "objective": {"chsn": 0.3}}}, "x.yaml")
    with pytest.raises(UserError, match=r"sampler=uniform has no effect while chns is 0"):
        parse({"model": {"name": "lattice", "objective": {"sampler": "uniform"}}}, "x.yaml")
    with pytest.raises(UserError, match="nothing is learned"):
        parse({"model": {"name": "freedom", "objective": {"bpr": 0}}}, "x.yaml")
