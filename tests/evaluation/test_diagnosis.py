import torch

from brmrs.evaluation import diagnosis
from brmrs.evaluation.metrics import evaluated
from brmrs.evaluation.ranking import top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch

ITEMS = 6
NOTHING = UserItems.from_pairs(
    torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64), 4, ITEMS
)


def from_scores(*rows: list[float]) -> Branch:
    """A branch with these scores, a row for each of four users."""
    return Branch(torch.eye(4), torch.tensor(rows, dtype=torch.float32).T)


def pairs(*of: tuple[int, int]) -> UserItems:
    users, items = torch.tensor(of).T
    return UserItems.from_pairs(users, items, 4, ITEMS)


def diagnose(
    branches: dict[str, Branch], held_out: UserItems, train: UserItems, k: int
) -> dict[str, float | None]:
    users = evaluated(held_out)
    lists = {name: top_k(branch, users, k, train)[0] for name, branch in branches.items()}
    return diagnosis.diagnose(branches, lists, held_out)


def test_by_hand() -> None:
    """K = 2; the held-out item is item 0 for every user.

    User 0: fused has it behind item 1, which beats it in text and not in the picture: confused.
    User 1: fused misses it behind items 1 and 2, text has it: degenerated. Item 1 beats it in
        neither modality, item 2 in the picture alone: one of two confused.
    User 2: fused alone has it, first: synergy, no negative above.
    User 3: nobody has it; items 1 and 2 beat it in both modalities: not confused.
    """
    fused = from_scores(
        [8, 9, 0, 0, 0, 0], [1, 9, 8, 0, 0, 0], [9, 8, 0, 0, 0, 0], [1, 9, 8, 0, 0, 0]
    )
    text = from_scores(
        [5, 6, 0, 0, 0, 0], [9, 8, 7, 0, 0, 0], [0, 1, 2, 0, 0, 0], [0, 5, 4, 0, 0, 0]
    )
    visual = from_scores(
        [9, 3, 0, 0, 0, 0], [5, 4, 6, 7, 0, 0], [0, 1, 2, 0, 0, 0], [0, 5, 4, 0, 0, 0]
    )
    branches = {"fused": fused, "text": text, "visual": visual}
    held_out = pairs((0, 0), (1, 0), (2, 0), (3, 0))
    rates = diagnose(branches, held_out, NOTHING, 2)
    assert rates == {
        "cross_modal_confusion": 2 / 5,
        "fusion_degeneration": 1 / 2,  # of users 0 and 1, the fused branch misses user 1's
        "synergy": 1 / 2,  # of users 0 and 2, fusion alone has user 2's
    }


def test_held_out_and_training_items_are_no_negatives() -> None:
    """Items 1 (held out as well) and 2 (trained) stand above item 0; item 3 alone counts."""
    ones = [1.0] * ITEMS
    fused = from_scores([1, 9, 8, 7, 0, 0], ones, ones, ones)
    text = from_scores([1, 9, 8, 7, 0, 0], ones, ones, ones)
    visual = from_scores([5, 0, 0, 0, 0, 0], ones, ones, ones)
    branches = {"fused": fused, "text": text, "visual": visual}
    rates = diagnose(branches, pairs((0, 0), (0, 1)), pairs((0, 2)), 3)
    # For item 0: item 3, confused. For item 1, first in the list: nothing above it.
    assert rates["cross_modal_confusion"] == 1


def test_no_share_of_nothing() -> None:
    branch = from_scores(*[[1.0] * ITEMS] * 4)
    rates = diagnose(dict.fromkeys(("fused", "text", "visual"), branch), NOTHING, NOTHING, 3)
    assert set(rates.values()) == {None}
