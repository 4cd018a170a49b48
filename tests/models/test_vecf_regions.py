"""VECF over the regions of pictures, against a slow, literal transcription."""

from dataclasses import replace

import pytest
import torch
from six_by_five import (
    ITEMS,
    USERS,
    assert_equal_with_gradients,
    batch,
    data,
    in_double,
    minus_log_sigma,
    unit,
)
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import configure
from brmrs.errors import UserError
from brmrs.models import registry, scorers, vecf
from brmrs.models.vecf import VECF

pytestmark = pytest.mark.usefixtures("one_thread")
K, D = 7, 4  # regions, numbers in each
BARE = 4  # the item without a picture


def regions() -> Tensor:
    drawn = torch.randn(ITEMS, K, D, generator=torch.Generator().manual_seed(1))
    drawn[BARE] = 0
    drawn[2, 3] = 0  # a region of which the backbone says nothing
    return (100 * drawn).half()


DATA = replace(data(), regions=regions())


def model() -> VECF:
    made = VECF(DATA, VECF.Config(dim=3, n_negatives=2, regularization=0.1), seed=0)
    in_double(made)
    return made


def literal_score(made: VECF, u: int, i: int) -> Tensor:
    p, merged = made.users[u], made.items[i]
    if i != BARE:
        f = [unit(regions()[i, k].double()) for k in range(K)]
        w_u, w_f, w_v = made.query.T, made.keys[VISUAL].T, made.values[VISUAL].T
        logits = [((w_u @ p) * (w_f @ f_k)).sum() for f_k in f]
        total = torch.stack([logit.exp() for logit in logits]).sum()
        for logit, f_k in zip(logits, f, strict=True):
            merged = merged + logit.exp() / total * (w_v @ f_k)
    return (p * merged).sum()


def literal_terms(made: VECF) -> dict[str, Tensor]:
    drawn = batch(made.n_negatives)
    entropy, l2 = [], []
    columns = (drawn.users.tolist(), drawn.positives.tolist(), drawn.negatives.tolist())
    for u, i, negatives in zip(*columns, strict=True):
        losses = [minus_log_sigma(literal_score(made, u, i))]
        losses += [minus_log_sigma(-literal_score(made, u, j)) for j in negatives]
        entropy.append(torch.stack(losses).sum())
        rows = [made.users[u], *(made.items[item] for item in (i, *negatives))]
        l2.append(torch.stack([row.square().sum() for row in rows]).sum() / 2)
    means = {"cross_entropy": torch.stack(entropy).mean(), "l2": torch.stack(l2).mean()}
    return {**means, "l2": made.regularization * means["l2"]}


@pytest.mark.parametrize("block", [1, 2**24])  # one row of the batch at a time, and all at once
def test_loss_and_gradient_by_the_letter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vecf, "BLOCK_BYTES", block)
    made = model()
    terms = made.loss(batch(made.n_negatives), torch.Generator())
    assert_equal_with_gradients(made, terms, literal_terms(made))


@pytest.mark.parametrize("chunk", [1, 2**20])
def test_scores_by_the_letter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "CHUNK", chunk)
    monkeypatch.setattr(vecf, "BLOCK_BYTES", chunk)
    made = model()
    users = torch.tensor([5, 0, 3, 3])
    with torch.no_grad():
        branch = made.branches()[FUSED]
        mine = branch.scores(users)
        literal = [[float(literal_score(made, u, i)) for i in range(ITEMS)] for u in users]
    # What a bundle keeps of the regions has their precision.
    assert (branch.keys.dtype, branch.keys.shape) == (torch.float16, (ITEMS, K, 3))
    torch.testing.assert_close(mine, torch.tensor(literal, dtype=torch.float64), rtol=0, atol=3e-3)
    assert branch.shape == (USERS, ITEMS)
    plain = made.users[users] @ made.items[BARE]
    torch.testing.assert_close(mine[:, BARE], plain.detach())


def test_two_users_look_at_different_regions() -> None:
    made = model()
    with torch.no_grad():
        branch = made.branches()[FUSED]
        logits = torch.einsum("ud,kd->uk", branch.queries, branch.keys[0].double())
    assert len(set(logits.argmax(dim=1).tolist())) > 1


def test_the_parts_are_the_regions_alone() -> None:
    made = model()
    assert (made.learns_from(VISUAL), made.learns_from(TEXT)) == (True, False)
    assert set(made.keys) == set(made.values) == {VISUAL}
    without = VECF(data(), VECF.Config(dim=3, n_negatives=2, regularization=0.1), seed=0)
    assert without.learns_from(TEXT)


def test_regions_are_looked_up_where_they_lie() -> None:
    """Neither copied nor saved."""
    made = VECF(DATA, VECF.Config(dim=3, n_negatives=2, regularization=0.1), seed=0)
    assert DATA.regions is not None
    assert made.parts[VISUAL].data_ptr() == DATA.regions.data_ptr()
    assert sum(tensor.numel() for tensor in made.state_dict().values()) < 100


def test_refuses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("vecf", dim=3)
    with_regions, without = (VECF.working_bytes(each, config) for each in (DATA, data()))
    assert with_regions - without == 2 * 2 * ITEMS * K * 3 * 2  # keys and values, twice, float16
    monkeypatch.setattr(registry, "free_memory", lambda device: with_regions - 1)
    registry.build(config, data(), seed=0)
    with pytest.raises(UserError, match=r"model vecf needs about .* GB"):
        registry.build(config, DATA, seed=0)
