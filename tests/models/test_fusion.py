"""Which fusions can hold synergy: an exclusive-or of text and picture that no sum can rank."""

import itertools
from typing import get_args

import pytest
import torch
from checkerboard import make_data, sample, train
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.models import losses, registry
from brmrs.models.base import Batch
from brmrs.models.fusion import JOINT, WITH_IDS, Fusion, Joint, Kind

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS: tuple[Kind, ...] = get_args(Kind)
ADDITIVE = {"concat", "mean", "user-gate"}
DIM, THETA = 4, 0.5


def kinds() -> tuple[Tensor, Tensor]:
    """(4,) the kind of text and of picture of each item."""
    a, b = zip(*itertools.product((0, 1), (0, 1)), strict=True)
    return torch.tensor(a), torch.tensor(b)


def excess(
    fusion: Fusion, user: Tensor, text: Tensor, visual: Tensor, joint: Joint | None
) -> Tensor:
    """Delta_f - max(Delta_t, Delta_v) of every positive against every negative.

    Items have a text of two kinds and a picture of two kinds; the user likes those of equal kinds.

    Args:
        fusion: phi.
        user: (C d,) channels of the user.
        text: (2, d) q_t by the kind of text.
        visual: (2, d) q_v by the kind of picture.
        joint: the third channel of the fusion joint.
    """
    a, b = kinds()
    third = torch.zeros(4, DIM * (fusion.channels - 2))  # ids must not tell the items apart
    items = torch.cat([text[a], visual[b], third if joint is None else joint()], dim=1)
    p_t, p_v = user[:DIM], user[DIM : 2 * DIM]
    scores = {
        FUSED: fusion.items(items) @ fusion.users(user),
        TEXT: text[a] @ p_t,
        VISUAL: visual[b] @ p_v,
    }
    likes = a == b
    delta = {name: s[likes, None] - s[None, ~likes] for name, s in scores.items()}
    best: Tensor = torch.maximum(delta[TEXT], delta[VISUAL])
    return delta[FUSED].sub(best)


def of_kinds(generator: torch.Generator) -> Joint:
    """`Joint` of features that show the kinds."""
    features = {m: torch.eye(2)[n] for m, n in zip((TEXT, VISUAL), kinds(), strict=True)}
    present = {m: torch.ones(4, dtype=torch.bool) for m in features}
    return Joint(features, present, DIM, generator)


@pytest.mark.parametrize("kind", KINDS)
def test_whether_a_fusion_can_hold_an_exclusive_or(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(0)
    fusion = Fusion(kind, DIM, generator)
    user = torch.randn(fusion.channels * DIM, generator=generator, requires_grad=True)
    text, visual = (torch.randn(2, DIM, generator=generator, requires_grad=True) for _ in range(2))
    joint = of_kinds(generator) if kind == JOINT else None
    modules = [fusion] if joint is None else [fusion, joint]
    parameters = [each for module in modules for each in module.parameters()]
    optimiser = torch.optim.Adam([*parameters, user, text, visual], lr=0.03)
    for _ in range(600):
        optimiser.zero_grad()
        torch.relu(2 * THETA - excess(fusion, user, text, visual, joint)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    holds = bool((excess(fusion, user, text, visual, joint) > THETA).all())
    assert holds == (kind not in ADDITIVE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fusion_trains_and_is_what_ranks(kind: Kind) -> None:
    data = make_data((TEXT, VISUAL))
    model = registry.build(configure("br-mrs", dim=8, fusion=kind, edge_dropout=0.0), data, seed=0)
    batch = sample(data, model.n_negatives, torch.Generator().manual_seed(0))
    with torch.no_grad():
        terms, branches = model.loss(batch, torch.Generator()), model.branches()
        s = branches[FUSED].pairs(batch.users, batch.triples)
    torch.testing.assert_close(terms["bpr"], losses.bpr(s[:, 0], s[:, 1]), atol=1e-5, rtol=1e-5)
    curve = train(model, data, 20)
    assert sum(curve[-5:]) < sum(curve[:5])
    assert ("ids" in dict(model.named_parameters())) == (kind in WITH_IDS)


def test_the_regulariser_does_not_depend_on_the_pool_and_includes_the_gate() -> None:
    data = make_data((TEXT, VISUAL))
    values = {}
    for pool in (2, 16):
        model = registry.build(configure("br-mrs", dim=4, pool=pool, fusion="gate"), data, seed=0)
        wide = sample(data, 16, torch.Generator().manual_seed(0))
        batch = Batch(wide.users, wide.positives, wide.negatives[:, :pool])
        l2 = model.loss(batch, torch.Generator())["l2"]
        values[pool] = l2.item()
        l2.backward()  # type: ignore[no-untyped-call]
        gate = dict(model.named_parameters())["fusion.weight"]
        torch.testing.assert_close(gate.grad, 1e-4 * gate.detach())
    assert values[2] == values[16]


def test_a_modality_that_an_item_lacks_does_not_enter_the_synergy_loss() -> None:
    f, t, v = (torch.tensor(x) for x in ([1.0, 1.0, 1.0], [0.5, 0.5, 9.0], [2.0, 2.0, 9.0]))
    has_t, has_v = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    t.requires_grad_()
    found = losses.synergy(f, t, v, 0.1, has_t, has_v, detach=False)
    expected = -torch.nn.functional.logsigmoid(torch.tensor([1 - 2 - 0.1, 1 - 0.5 - 0.1])).mean()
    torch.testing.assert_close(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert t.grad is not None
    assert t.grad.isfinite().all()
    assert (t.grad != 0).tolist() == [False, True, False]
    nothing = torch.zeros(3, dtype=torch.bool)
    assert losses.synergy(f, t, v, 0.1, nothing, nothing, detach=True) == 0


def test_the_joint_channel_ignores_what_is_missing_and_starts_at_the_scale_of_the_others() -> None:
    data = make_data((TEXT, VISUAL))
    joint = Joint(data.features, data.present, 8, torch.Generator().manual_seed(0))
    missing = ~data.present[VISUAL]
    assert missing.any()
    assert (joint.z[missing, 8:] == 0).all()  # 8 directions of the text, then the pictures
    for m, block in zip((TEXT, VISUAL), (joint.z[:, :8], joint.z[:, 8:]), strict=True):
        there = block[data.present[m]]
        torch.testing.assert_close(
            there.mean(dim=0), torch.zeros(there.shape[1]), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(there.square().mean(), torch.tensor(1.0))
    assert 0.02 < joint().std() < 0.5
