import pytest
import torch

from brmrs.columns import TEST, VALIDATION
from brmrs.diagnosis import samplers
from brmrs.diagnosis.scan import by_part
from brmrs.diagnosis.schemas import HARDEST_BY_TEXT, HARDEST_BY_VISUAL, UNIFORM
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.training.sampling import Sampler

USERS, ITEMS, POOL = 3, 12, 3


def test_false_negative_rates_are_those_of_many_draws() -> None:
    """200,000 draws of the training's own sampler, for each training interaction one pool."""
    generator = torch.Generator().manual_seed(5)
    train = UserItems.from_pairs(
        torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 1, 2, 3, 4, 5]), USERS, ITEMS
    )
    held_out = {
        VALIDATION: UserItems.from_pairs(torch.tensor([0, 1]), torch.tensor([2, 0]), USERS, ITEMS),
        TEST: UserItems.from_pairs(torch.tensor([0, 1]), torch.tensor([7, 9]), USERS, ITEMS),
    }
    branches = {
        name: Branch(torch.eye(USERS), torch.randn(ITEMS, USERS, generator=generator))
        for name in ("fused", "text", "visual")
    }
    scans = by_part(branches, held_out, train, "random", k=2, negatives=4, seed=0)
    rates = samplers.false_negative_rates(scans, train, POOL)

    draws = 200_000
    users = train.users[torch.arange(draws) % len(train.users)]
    pools = Sampler(train, POOL).negatives(users, generator)
    chosen = {UNIFORM: pools[:, :1]}
    for sampler, name in ((HARDEST_BY_TEXT, "text"), (HARDEST_BY_VISUAL, "visual")):
        best = branches[name].pairs(users, pools).argmax(dim=1, keepdim=True)
        chosen[sampler] = pools.gather(1, best)
    for sampler, items in chosen.items():
        false = sum(each.contain(users.unsqueeze(1), items) for each in held_out.values())
        counted = float(torch.as_tensor(false).float().mean())
        assert rates[sampler] == pytest.approx(counted, abs=0.005), sampler
        assert counted > 0.03


@pytest.mark.parametrize(
    ("model", "pool"),
    [({"pool": 16}, 16), ({}, 2), ({"objective": {"pool": 4}}, 4), ({"objective": None}, 2)],
)
def test_the_pool_of_a_model(model: dict[str, object], pool: int) -> None:
    assert samplers.pool_of(model) == pool


@pytest.mark.parametrize("pool", [0, -1, 10**9, "many", None, 1.5])
def test_a_pool_that_is_no_number(pool: object) -> None:
    with pytest.raises(UserError, match="pool"):
        samplers.pool_of({"pool": pool})
