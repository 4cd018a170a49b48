"""Training on small pictures: views, resuming, collapse, the stage."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from pictures import encoded, photo
from safetensors.torch import load_file
from torch import Tensor, nn

from brmrs.columns import CURVE, LOSS, SPREAD
from brmrs.config.features import SELF_SUPERVISED, SelfSupervisionConfig, VisualConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.features.self_supervised import stage
from brmrs.features.self_supervised.base import Method
from brmrs.features.self_supervised.pictures import Pictures
from brmrs.features.self_supervised.training import Fit, Point, without_dropout
from brmrs.features.self_supervised.views import Views, alike, unlike
from brmrs.features.visual import stage as visual
from brmrs.images import stage as images
from brmrs.images.decode import Picture, Status
from brmrs.images.picture_store import stored_files
from brmrs.stages import StageContext
from brmrs.system.files import read_json

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for seed in range(6):
        found.append(tmp_path / f"{seed}.png")
        found[-1].write_bytes(encoded(photo(seed), "PNG"))
    return found


class Toy(Method):
    """Pulls the outputs of two views together by means that the tests choose."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.scale = scale
        self.backbone = nn.Linear(3, 4, bias=False, device="meta").to_empty(device="cpu")
        nn.init.normal_(self.backbone.weight, generator=generator)
        self.offset = nn.Parameter(torch.ones(4))

    @staticmethod
    def views(size: int) -> Views:
        return alike(size)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        z_1, z_2 = (self.backbone(v.mean(dim=(2, 3))) * self.scale for v in (first, second))
        return (z_1 - z_2).square().mean(), z_1 + (1 - self.scale) * self.offset


def fit(
    paths: list[Path], checkpoint: Path, epochs: int, method: Method | None = None
) -> tuple[Fit, list[Point]]:
    config = SelfSupervisionConfig(size=32, epochs=epochs, batch_size=4, learning_rate=0.05)
    made = Fit(method or Toy(), Pictures(paths, 36), config, seed=3)
    return made, made.run(checkpoint)


@pytest.mark.parametrize("kind", [alike, unlike])
def test_views_draw_from_their_generator_not_the_global_one(kind: type) -> None:
    views, before = kind(32), torch.get_rng_state()
    image = torch.arange(3 * 40 * 30).reshape(3, 40, 30).remainder(256).to(torch.uint8)
    drawn = [views.of(image, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    for first, second in zip(*drawn[:2], strict=True):
        assert torch.equal(first, second)
        assert first.shape == (3, 32, 32)
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_pictures_are_decoded_small_and_the_cache_is_bounded(tmp_path: Path) -> None:
    sizes = {"wide": (400, 100), "tall": (50, 80), "thread": (3000, 2)}
    files = [tmp_path / f"{name}.png" for name in sizes]
    for file, size in zip(files, sizes.values(), strict=True):
        file.write_bytes(encoded(photo(size=size), "PNG"))
    bound = 3 * 36 * 144
    pictures = Pictures(files, 36, cache_bytes=bound)
    shapes = [tuple(pictures[row].shape) for row in range(3)]
    assert shapes == [(3, 36, 144), (3, 58, 36), (3, 36, 144)]  # the thread is squeezed
    for file in files:
        file.unlink()
    assert pictures[0].dtype == torch.uint8
    with pytest.raises(FileNotFoundError):
        pictures[1]


def test_training_lowers_the_loss_and_a_resumed_training_ends_equal(
    paths: list[Path], tmp_path: Path
) -> None:
    whole, curve = fit(paths, tmp_path / "whole.pt", 16)
    losses = [value for _, kind, _, value in curve if kind == LOSS]
    assert sum(losses[-4:]) < sum(losses[:4])

    class KilledError(RuntimeError):
        pass

    class Dies(Toy):
        steps = 0

        def after_step(self, done: float) -> None:
            self.steps += 1
            if self.steps == 4:  # in epoch 4: six pictures are one batch of four an epoch
                raise KilledError

    with pytest.raises(KilledError):
        fit(paths, tmp_path / "cut.pt", 16, Dies())
    resumed, again = fit(paths, tmp_path / "cut.pt", 16)
    assert again == curve
    for left, right in zip(resumed.method.parameters(), whole.method.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_collapse_is_logged_and_ends_with_an_error(
    paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"outputs of Toy collapsed \(spread 0\.0") as error:
        fit(paths, tmp_path / "c.pt", 2, Toy(scale=1e-6))
    assert "\n" not in str(error.value)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["epoch 1", "epoch 2"]


def test_a_loss_that_is_not_finite(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not finite in epoch 1; lower training\.learning_rate"):
        fit(paths, tmp_path / "c.pt", 2, Toy(scale=float("inf")))


def test_the_rate_falls_along_a_cosine_except_for_unscheduled_parameters(
    paths: list[Path], tmp_path: Path
) -> None:
    class Half(Toy):
        def unscheduled(self) -> set[nn.Parameter]:
            return {self.offset}

    made, _ = fit(paths, tmp_path / "c.pt", 2, Half())
    made._set_rate(1)  # of two steps
    assert [group["lr"] for group in made.optimizer.param_groups] == pytest.approx([0.025, 0.05])


def test_dropout_is_off_as_it_draws_from_the_global_generator() -> None:
    network = without_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))).train()
    before = torch.get_rng_state()
    network(torch.ones(2, 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def context(paths: list[Path], tmp_path: Path) -> StageContext:
    folder = tmp_path / "images"
    for path in paths:
        target = folder / "files" / "ab" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    pictures = [
        Picture(Status.OK, sha256=digest, extension="png") for digest in stored_files(folder)
    ]
    images.write(pictures, folder)
    (folder / "files" / "ab" / "stray.png").write_bytes(b"belongs to no item")
    (tmp_path / "out").mkdir()
    training = {"size": 32, "epochs": 1, "batch_size": 4}
    visual = {"backbone": "resnet18", "weights": "simsiam", "training": training}
    config = PipelineConfig.model_validate({"features": {"visual": visual}})
    return StageContext(config, {"images": folder}, tmp_path / "out", tmp_path / "scratch")


def test_the_stage_writes_weights_and_curve(context: StageContext) -> None:
    before = torch.get_rng_state()
    stage.run(context)
    assert torch.equal(before, torch.get_rng_state())
    curve = pq.read_table(context.out / "curve.parquet")
    assert curve.schema == CURVE
    assert curve["kind"].to_pylist() == [LOSS, SPREAD]
    weights = load_file(context.out / "weights.safetensors")
    assert any(name.endswith("layer4.1.conv2.weight") for name in weights)
    assert not any("fc" in name for name in weights)
    folder = context.inputs["images"]
    (context.out / "features").mkdir()
    inputs = {"images": folder, "visual_training": context.out}
    visual.run(StageContext(context.config, inputs, context.out / "features", context.scratch))
    meta = read_json(context.out / "features" / "meta.json")
    assert meta["label"] == "ResNet-18 (SimSiam on these pictures)"
    assert meta["weights_sha256"] == table.digest(weights)
    assert meta["present"] == meta["items"] == len(stored_files(folder)) - 1


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_other_weights_need_no_training(context: StageContext, weights: str) -> None:
    values = {"features": {"visual": {"backbone": "no such", "weights": weights}}}
    config = PipelineConfig.model_validate(values)
    stage.run(StageContext(config, context.inputs, context.out, context.scratch))
    assert [path.name for path in context.out.iterdir()] == ["curve.parquet"]
    assert len(pq.read_table(context.out / "curve.parquet")) == 0


def test_one_picture_is_too_few(paths: list[Path], tmp_path: Path) -> None:
    config = VisualConfig(backbone="resnet18", weights="byol")
    with pytest.raises(UserError, match=r"features\.visual\.weights: byol .* only one"):
        stage.train(paths[:1], config, tmp_path / "c.pt")


def test_the_configuration_and_the_stage_name_the_same_methods() -> None:
    assert set(stage.METHODS) == set(SELF_SUPERVISED)
