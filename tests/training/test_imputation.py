import numpy as np
import pytest
import scipy.sparse as sp
import torch

from brmrs.columns import TEXT
from brmrs.graphs import bipartite
from brmrs.graphs.homogeneous import row_normalised
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models.base import TrainingData
from brmrs.training.imputation import imputed

# Items 2 and 3 lack the modality; 2 has the neighbours 0 (weight 3), 1 (1) and 3 (4), 3 only 2.
WEIGHTS = np.array([[0, 0, 3, 0], [0, 0, 1, 0], [3, 1, 0, 4], [0, 0, 4, 0]], dtype=np.float32)
VECTORS = torch.tensor([[4.0, 0.0], [0.0, 8.0], [0.0, 0.0], [0.0, 0.0]])
PRESENT = torch.tensor([True, True, False, False])


@pytest.fixture
def data() -> TrainingData:
    users, items = torch.tensor([0]), torch.tensor([0])
    return TrainingData(
        users=1,
        items=4,
        train_users=users,
        train_items=items,
        user_item=bipartite.normalised(users, items, 1, 4),
        features={TEXT: VECTORS},
        present={TEXT: PRESENT},
        item_graph=SparseMatrix.from_scipy(row_normalised(sp.csr_matrix(WEIGHTS))),
    )


def test_zeros_change_nothing(data: TrainingData) -> None:
    assert imputed(data, "zeros") is data


def test_the_mean_of_those_that_have_it(data: TrainingData) -> None:
    found = imputed(data, "mean")
    assert found.features[TEXT].tolist() == [[4, 0], [0, 8], [2, 4], [2, 4]]
    assert found.present[TEXT].all()
    assert data.present[TEXT].tolist() == [True, True, False, False]


def test_the_neighbours_mean_and_the_mean_where_no_neighbour_has_it(data: TrainingData) -> None:
    found = imputed(data, "neighbours").features[TEXT]
    expected = torch.tensor([[4.0, 0.0], [0.0, 8.0], [3.0, 2.0], [2.0, 4.0]])
    assert torch.allclose(found, expected)


def test_no_modality_is_nothing_to_fill(data: TrainingData) -> None:
    bare = TrainingData(1, 4, data.train_users, data.train_items, data.user_item)
    assert imputed(bare, "neighbours").features == {}
