"""What every recommender of the registry promises, no exceptions."""

import dataclasses
from typing import Any

import pytest
import torch
from checkerboard import BARE_ITEM, UNSEEN_USER, make_data, masks, sample, train
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection
from brmrs.config.models import names as model_names
from brmrs.config.models import section as section_of_model
from brmrs.errors import UserError
from brmrs.models import registry
from brmrs.models.base import Recommender, TrainingData

# Little capacity: attention over pairs learns the noise of so few interactions by heart.
SMALL = {"maml": {"dim": 2, "hidden": 4}, "vecf": {"dim": 4, "n_negatives": 1}}
NAMES = model_names()
TRAINABLE = [name for name in NAMES if registry.load(name).trainable]
# Its deep transforms go on to learn the noise of the features by heart.
STEPS = {"mmgcn": 60}
MODALITY_CHOICES = [(TEXT, VISUAL), (TEXT,), (VISUAL,)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data() -> TrainingData:
    return make_data()


def config(name: str, **values: Any) -> ModelSection:
    """The recommender's defaults, small."""
    section = section_of_model(name)
    small = {"dim": 16} if "dim" in section.model_fields else {}
    return section(**{**small, **SMALL.get(name, {}), **values})


def build(name: str, data: TrainingData, seed: int = 0) -> Recommender:
    return registry.build(config(name), data, seed)


def state(model: Recommender) -> list[Tensor]:
    with torch.no_grad():
        return [t for branch in model.branches().values() for t in vars(branch).values()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_registry_and_configuration_name_the_same_models() -> None:
    assert model_names() == NAMES


@pytest.mark.parametrize("modalities", MODALITY_CHOICES)
@pytest.mark.parametrize("name", NAMES)
def test_branches_rank_every_item_for_every_user(name: str, modalities: tuple[str, ...]) -> None:
    data = make_data(modalities)
    with torch.no_grad():
        branches = build(name, data).branches()
    assert FUSED in branches
    assert set(branches) <= {FUSED, *modalities}
    for branch in branches.values():
        assert branch.shape == (data.users, data.items)
        users = torch.tensor([0, UNSEEN_USER])  # a user without history, too
        scores = branch.scores(users)
        assert scores.shape == (2, data.items)
        assert torch.isfinite(scores).all()
        some = torch.tensor([[3, BARE_ITEM], [BARE_ITEM, 0]])
        torch.testing.assert_close(branch.pairs(users, some), scores.gather(1, some))
        assert branch.similarities(BARE_ITEM).shape == (data.items,)
        assert torch.isfinite(branch.similarities(BARE_ITEM)).all()


@pytest.mark.parametrize("modalities", MODALITY_CHOICES)
@pytest.mark.parametrize("name", TRAINABLE)
def test_loss_is_finite_and_falls(name: str, modalities: tuple[str, ...]) -> None:
    data = make_data(modalities)
    model = build(name, data)
    curve = train(model, data, 30)
    assert all(map(torch.isfinite, torch.tensor(curve)))
    assert sum(curve[-5:]) < sum(curve[:5])
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_parameter_gets_a_gradient(name: str, data: TrainingData) -> None:
    model = build(name, data)
    generator = torch.Generator().manual_seed(0)
    terms = model.loss(sample(data, model.n_negatives, generator), generator)
    assert all(term.shape == () for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", TRAINABLE)
def test_bf16_is_for_dense_products_alone(name: str, data: TrainingData) -> None:
    """Terms and gradients are float32, and near to those without autocast."""
    terms, gradients = {}, {}
    for precision, enabled in (("fp32", False), ("bf16", True)):
        model, generator = build(name, data), torch.Generator().manual_seed(0)
        batch = sample(data, model.n_negatives, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms[precision] = model.loss(batch, generator)
        torch.stack(list(terms[precision].values())).sum().backward()  # type: ignore[no-untyped-call]
        gradients[precision] = [parameter.grad for parameter in model.parameters()]
    assert all(term.dtype == torch.float32 for term in terms["bf16"].values())
    assert all(grad is not None and grad.isfinite().all() for grad in gradients["bf16"])
    for term, exact in terms["fp32"].items():
        torch.testing.assert_close(terms["bf16"][term], exact, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides_and_the_global_generator_is_left_alone(name: str, data: TrainingData) -> None:
    before = torch.get_rng_state()
    models = [build(name, data, seed) for seed in (1, 1, 2)]
    if models[0].trainable:
        for model in models:
            train(model, data, 3)
        assert not same(state(models[0]), state(models[2]))
    assert same(state(models[0]), state(models[1]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_branches_are_deterministic(name: str, data: TrainingData) -> None:
    model = build(name, data)
    if model.trainable:
        train(model, data, 2)
    assert same(state(model), state(model))


@pytest.mark.parametrize("name", NAMES)
def test_refuses_data_that_lack_what_it_needs(name: str, data: TrainingData) -> None:
    nothing: dict[str, Any] = {"features": {}, "present": {}, "modality_graphs": {}}
    bare = dataclasses.replace(data, item_graph=None, user_graph=None, **nothing)
    if not registry.load(name).needs:
        build(name, bare)
        return
    with pytest.raises(UserError, match=f"model {name} needs") as error:
        build(name, bare)
    assert "\n" not in str(error.value)
    assert all(need in str(error.value) for need in registry.load(name).needs)


# The features are noise: content-knn learns nothing of the users' taste, content-ease spreads it
# over random neighbours. most-popular learns nothing of it anywhere.
BY_CONTENT = {"content-knn", "content-ease"}


@pytest.mark.parametrize("name", sorted({*NAMES} - BY_CONTENT - {"most-popular"}))
def test_checkerboard_is_filled_in(name: str, data: TrainingData) -> None:
    model = build(name, data)
    held_out = torch.tensor(masks()[1])
    if model.trainable:
        train(model, data, STEPS.get(name, 150))
    with torch.no_grad():
        scores = model.branches()[FUSED].scores(torch.arange(data.users))
    users, items = torch.arange(data.users)[:, None], torch.arange(data.items)[None, :]
    other = users % 2 != items % 2
    for user in range(data.users):
        if user != UNSEEN_USER:
            assert scores[user][held_out[user]].min() > scores[user][other[user]].max(), user


def test_checkerboard_would_catch_popularity(data: TrainingData) -> None:
    held_out = torch.tensor(masks()[1])
    scores = build("most-popular", data).branches()[FUSED].scores(torch.arange(data.users))
    other = torch.arange(data.users)[:, None] % 2 != torch.arange(data.items)[None, :] % 2
    assert any(scores[u][held_out[u]].min() <= scores[u][other[u]].max() for u in range(30))


@pytest.mark.parametrize("name", [*TRAINABLE, "ease", "content-ease"])
def test_refuses_before_building_what_does_not_fit(
    name: str, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = registry.load(name).working_bytes(data, config(name))
    assert needed > 0
    monkeypatch.setattr(registry, "free_memory", lambda device: needed - 1)
    with pytest.raises(UserError, match=rf"{name} needs about .* GB of memory for 32 users"):
        build(name, data)
    monkeypatch.setattr(registry, "free_memory", lambda device: needed)
    build(name, data)
