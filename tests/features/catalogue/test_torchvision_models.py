"""The names of backbones, which are read from torchvision's sources."""

import torchvision
from torchvision.models import list_models

from brmrs.features.catalogue import torchvision as torchvision_models


def test_the_sources_name_what_torchvision_has_registered() -> None:
    assert torchvision_models.names() == set(list_models(module=torchvision.models))
