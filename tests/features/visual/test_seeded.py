import torch
from torch import nn

from brmrs.features.visual.seeded import DrawFrom


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_block_draws_from_its_generator_not_the_global_one() -> None:
    before = torch.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        with DrawFrom(generator(seed)):
            values = [torch.rand(3), torch.empty(2).uniform_(0, 1), torch.randperm(9).float()]
            values += [nn.Linear(2, 2).weight.detach().flatten(), torch.randint(0, 99, (3,))]
        drawn.append(torch.cat(values))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(before, torch.get_rng_state())


def test_a_block_inside_another_has_its_own_generator() -> None:
    with DrawFrom(generator(0)):
        alone = nn.Linear(4, 4).weight
    with DrawFrom(generator(1)):
        torch.rand(5)
        with DrawFrom(generator(0)):
            inside = nn.Linear(4, 4).weight
    assert torch.equal(alone, inside)
