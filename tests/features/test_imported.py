"""Vectors that a ready-made data set includes, and what they are called."""

from pathlib import Path

import numpy as np
import pytest

from brmrs.config.load import parse
from brmrs.errors import UserError
from brmrs.features import imported
from brmrs.stages import GIVEN, StageContext
from brmrs.system.files import digest_file, read_json

VECTORS = np.array([[1, 2], [0, 0], [3, 4]], dtype=np.float32)


def written(folder: Path, **label: str) -> dict[str, object]:
    """meta.json of text vectors."""
    (folder / "given").mkdir(parents=True)
    np.save(folder / "given" / "features.npy", VECTORS)
    config = parse({"features": {"text": {"model": "imported", **label}}}, "test")
    out = folder / "out"
    out.mkdir()
    inputs = {GIVEN["text"]: folder / "given"}
    imported.run(StageContext(config, inputs, out, folder), "text", config.features.text)
    meta: dict[str, object] = read_json(out / "meta.json")
    assert meta["weights_sha256"] == digest_file(folder / "given" / "features.npy")
    assert (meta["items"], meta["present"]) == (3, 2)
    return meta


def test_a_label_goes_with_the_digest_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = written(tmp_path / "plain")
    assert plain["label"] == "imported text features (2-d)"
    assert written(tmp_path / "mine", label="my vectors")["label"] == "my vectors"
    digest = str(plain["weights_sha256"])
    same = written(tmp_path / "same", label="surrogates", label_sha256=digest)
    assert same["label"] == "surrogates"
    assert not caplog.records
    other = written(tmp_path / "other", label="surrogates", label_sha256="0" * 64)
    assert other["label"] == "imported text features (2-d)"
    assert (
        f"'surrogates' names vectors with another digest (label_sha256); these have {digest}"
        in (caplog.text)
    )


def test_a_digest_without_a_label_names_nothing() -> None:
    with pytest.raises(UserError, match="label_sha256 is the digest of the vectors"):
        parse({"features": {"text": {"model": "imported", "label_sha256": "0" * 64}}}, "test")


def test_the_shipped_labels_are_those_of_the_files_at_hand(
    shared_data: Path, tmp_path: Path
) -> None:
    from brmrs.config.load import load

    config = load(Path(__file__).parents[2] / "configs" / "baby.yaml").features
    folder = shared_data / "benchmarks" / "baby"
    digests = {}
    for name in ("text", "image"):  # ingestion stores them as float32
        np.save(tmp_path / f"{name}.npy", np.load(folder / f"{name}_feat.npy").astype(np.float32))
        digests[name] = digest_file(tmp_path / f"{name}.npy")
    assert digests == {"text": config.text.label_sha256, "image": config.visual.label_sha256}
