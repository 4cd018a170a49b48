from pathlib import Path

import pytest

from brmrs.errors import UserError
from brmrs.features.catalogue import text as text_model


def test_the_packaged_model_is_found_and_its_weights_are_the_published_ones() -> None:
    folder = text_model.packaged_model_folder()
    assert (folder / "model.safetensors").stat().st_size == 90_868_376
    assert text_model.resolve("all-MiniLM-L6-v2") == folder


def test_a_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "organisation" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert text_model.resolve("organisation/model") == Path("organisation/model")
    assert text_model.resolve("organisation/other") == "organisation/other"


@pytest.mark.parametrize("model", ["", "/no/such/folder", "./nothing", "../x", "a/b/c", "a b", "~"])
def test_what_is_neither_folder_nor_hub_id_is_refused(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"features\.text\.model"):
        text_model.resolve(model)


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_model, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(UserError, match="no-such-distribution; install it"):
        text_model.packaged_model_folder()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_model"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(text_model, "DISTRIBUTION", "some-model")
    with pytest.raises(UserError, match="No such file or directory; reinstall some-model"):
        text_model.packaged_model_folder()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"SHA-256 is .*, expected 53aa5117"):
        text_model.packaged_model_folder()
