"""A model that needs texts or pictures is refused before anything runs where there can be none."""

from pathlib import Path

import pytest

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.stages import needed
from brmrs.store.fingerprint import fingerprint
from brmrs.store.modalities import check_modalities, modalities


def configuration(folder: Path, model: str, **sections: object) -> PipelineConfig:
    (folder / "reviews.json").write_text('{"user_id": "u", "parent_asin": "i", "rating": 5}\n')
    values = {"ingest": {"reviews": folder / "reviews.json"}, "model": model}
    return parse(values | sections, "test")


def check(config: PipelineConfig) -> None:
    check_modalities(config, needed(config))


@pytest.mark.parametrize("model", ["br-mrs", "bm3", "freedom", "vbpr"])
def test_reviews_alone_are_not_enough_for_a_multimodal_model(tmp_path: Path, model: str) -> None:
    with pytest.raises(UserError, match=f"model {model} needs texts or pictures.* ingest.metadata"):
        check(configuration(tmp_path, model))


def test_interactions_are_enough_for_other_models(tmp_path: Path) -> None:
    check(configuration(tmp_path, "lightgcn"))


def test_stages_before_training_are_enough_for_themselves(tmp_path: Path) -> None:
    config = configuration(tmp_path, "br-mrs")
    check_modalities(config, needed(config, "split"))


def test_metadata_or_a_folder_of_pictures_is_enough(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"parent_asin": "i", "title": "T"}\n')
    pictures = configuration(tmp_path, "br-mrs", images={"folder": tmp_path})
    assert modalities(pictures) == (False, True)
    both = {"ingest": {"reviews": tmp_path}}  # the folder holds the metadata, too
    assert modalities(configuration(tmp_path, "br-mrs", **both)) == (True, True)
    ready_made = {"ingest": {"format": "ready-made", "path": tmp_path}}
    assert modalities(configuration(tmp_path, "br-mrs", **ready_made)) == (True, True)
    check(pictures)


LINES = """
from brmrs.extensions import register

@register("lines", kind="dump format")
class Lines:
    fields = ("reviews",)

    def fingerprint(self, config):
        return {"reviews": list(config.reviews)}
"""


def test_a_format_of_a_plugin_has_pictures_only_from_a_folder_or_a_download(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    ingest = {"format": "lines", "reviews": tmp_path / "reviews.json"}
    plugins = [tmp_path / "lines.py"]
    offline = {"plugins": plugins, "ingest": ingest, "images": {"fetch": False}}
    assert modalities(configuration(tmp_path, "br-mrs", **offline)) == (True, False)
    online = {"plugins": plugins, "ingest": ingest}
    assert modalities(configuration(tmp_path, "br-mrs", **online)) == (True, True)


def test_a_file_that_the_format_does_not_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other_lines.py").write_text(LINES)
    reviews = tmp_path / "reviews.json"
    ingest = {"format": "lines", "reviews": reviews, "metadata": reviews}
    config = configuration(tmp_path, "ease", plugins=[tmp_path / "other_lines.py"], ingest=ingest)
    with pytest.raises(UserError, match=r"ingest\.metadata would have no effect: format lines"):
        fingerprint(config)


def test_tables_need_items_vectors_or_pictures(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("user,item\nu,i\n")
    bare = {"format": "table", "interactions": path}
    config = parse({"ingest": bare, "model": "br-mrs"}, "test")
    with pytest.raises(UserError, match=r"set ingest\.items or images\.folder"):
        check(config)
    for more in ({"items": path}, {"text_vectors": path}, {"visual_vectors": path}):
        check(parse({"ingest": {**bare, **more}, "model": "br-mrs"}, "test"))
