"""BPR-MF and most-popular, by hand."""

import pytest
import torch
from six_by_five import assert_equal_with_gradients, in_double, literal_bpr, literal_l2
from six_by_five import batch as small_batch
from six_by_five import data as small_data
from torch import nn

from brmrs.config.models import configure
from brmrs.graphs import bipartite
from brmrs.models.base import Batch, TrainingData
from brmrs.models.bpr_mf import BPRMF
from brmrs.models.most_popular import MostPopular
from brmrs.models.registry import build

USERS, ITEMS = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2])
DATA = TrainingData(2, 4, USERS, ITEMS, bipartite.normalised(USERS, ITEMS, 2, 4))


def test_bpr_mf_loss_by_hand() -> None:
    """Margins 2 - 1 = 1 and 0 - 3 = -3; squared norms of the rows 1+4+1 and 1+0+9, halved."""
    model = BPRMF(DATA, BPRMF.Config(dim=1, regularization=0.1), seed=0)
    model.p, model.q = (
        nn.Parameter(torch.tensor(values).unsqueeze(1))
        for values in ([1.0, -1.0], [2.0, 1.0, 0.0, -3.0])
    )
    batch = Batch(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([[1], [3]]))
    terms = model.loss(batch, torch.Generator())
    sigmoid = torch.tensor([1.0, -3.0], dtype=torch.float64).sigmoid()
    assert terms["bpr"].item() == pytest.approx(-sigmoid.log().mean().item())
    assert terms["l2"].item() == pytest.approx(0.1 * (6 + 10) / 2 / 2)
    torch.autograd.backward(terms["bpr"])
    # d/dq_0 of -log sigma(p_0 (q_0 - q_1)) / 2 = -(1 - sigma(1)) p_0 / 2
    assert model.q.grad is not None
    assert model.q.grad[0].item() == pytest.approx(-(1 - sigmoid[0].item()) / 2)


def test_bpr_mf_loss_and_gradient_by_the_letter() -> None:
    model = BPRMF(small_data(), BPRMF.Config(dim=3, regularization=0.1), seed=0)
    in_double(model)
    literal = {
        "bpr": literal_bpr(model.p, model.q),
        "l2": 0.1 * literal_l2([model.p], [model.q]),
    }
    terms = model.loss(small_batch(1), torch.Generator())
    assert_equal_with_gradients(model, terms, literal)


def test_bpr_mf_starts_from_its_seed_alone() -> None:
    def start(seed: int) -> torch.Tensor:
        model = build(configure("bpr-mf", dim=4), DATA, seed)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    state = torch.get_rng_state()
    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_most_popular_scores_are_counts() -> None:
    branch = MostPopular(DATA, MostPopular.Config(), seed=0).branches()["fused"]
    assert branch.scores(torch.tensor([1, 0])).tolist() == [[1, 0, 2, 0]] * 2
