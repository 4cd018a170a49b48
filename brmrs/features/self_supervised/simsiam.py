"""SimSiam (Chen & He, CVPR 2021, 'Exploring Simple Siamese Representation Learning')."""

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from brmrs.features.self_supervised.base import Method, Network, mlp
from brmrs.features.self_supervised.views import Views, alike

WIDTH = 2048  # d, of the projections
BOTTLENECK = 512  # hidden width of the predictor


class SimSiam(Method):
    """Two views, one network, a predictor, and no gradient through the target.

    With z = f(x) the projection and p = h(z) the prediction,

        D(p, z) = -<p / |p|, z / |z|>                                  (eq. 1)
        L = D(p_1, stopgrad(z_2)) / 2 + D(p_2, stopgrad(z_1)) / 2      (eq. 4)

    f is the backbone and three layers, all with batch norm; h is a bottleneck of two. The
    learning rate of h does not fall (the paper's section on the predictor). The released code's
    last batch norm has no scale and shift; here it has them.
    """

    def __init__(self, network: Network, dimension: int):
        super().__init__()
        self.backbone = network()
        self.projector = mlp((dimension, WIDTH, WIDTH, WIDTH), normed_output=True)
        self.predictor = mlp((WIDTH, BOTTLENECK, WIDTH), normed_output=False)

    @staticmethod
    def views(size: int) -> Views:
        """Both views have the same distribution."""
        return alike(size)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 4, and z_1."""
        z_1, z_2 = (self.projector(self.backbone(view)) for view in (first, second))
        p_1, p_2 = self.predictor(z_1), self.predictor(z_2)
        return (_distance(p_1, z_2.detach()) + _distance(p_2, z_1.detach())) / 2, z_1

    def unscheduled(self) -> set[nn.Parameter]:
        """The predictor's."""
        return set(self.predictor.parameters())


def _distance(p: Tensor, z: Tensor) -> Tensor:
    return -cosine_similarity(p, z).mean()
