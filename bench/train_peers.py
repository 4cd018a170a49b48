"""Time one model of another library on the interactions of `train.py`.

`python bench/train_peers.py NAME FILE EPOCHS` reads `indptr`, `items` and `features` from an .npz
file and prints JSON. It imports nothing of brmrs, so the libraries may be in a separate
environment. recbole 1.2.1 requires old versions of its dependencies:

    pip install cornac implicit recbole 'numpy<2' 'scipy<1.11' 'pandas<2.3' ray tensorboard \
        tabulate plotly texttable psutil hyperopt colorlog colorama 'setuptools<80'
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

DIM, BATCH = 64, 2048


def cornac_model(name: str, arrays: Any, epochs: int) -> float:
    """Seconds per epoch of a model of cornac, without building its data set."""
    cornac = import_module("cornac")
    users, items, features = pairs(arrays), arrays["items"], arrays["features"]
    triples = [(int(u), int(i), 1.0) for u, i in zip(users, items, strict=True)]
    data = cornac.data.Dataset.from_uir(triples, seed=0)
    if name == "BPR":
        model = cornac.models.BPR(k=DIM, max_iter=epochs, num_threads=2, verbose=False, seed=0)
    else:
        data.add_modalities(item_image=cornac.data.ImageModality(features=features))
        model = cornac.models.VBPR(
            k=DIM, k2=DIM, n_epochs=epochs, batch_size=BATCH, verbose=False, seed=0
        )
    started = time.perf_counter()
    model.fit(data)
    return (time.perf_counter() - started) / epochs


def pairs(arrays: Any) -> Any:
    """The user of each training interaction."""
    return np.repeat(np.arange(len(arrays["indptr"]) - 1), np.diff(arrays["indptr"]))


def implicit_model(name: str, arrays: Any, epochs: int) -> float:
    """Seconds per epoch of a model of implicit."""
    ones = np.ones(len(arrays["items"]), dtype=np.float32)
    matrix = import_module("scipy.sparse").csr_matrix((ones, arrays["items"], arrays["indptr"]))
    module = import_module("implicit.bpr" if name == "BPR" else "implicit.als")
    options = {"factors": DIM, "iterations": epochs, "num_threads": 2, "random_state": 0}
    if name == "BPR":
        model = module.BayesianPersonalizedRanking(**options)
    else:
        model = module.AlternatingLeastSquares(**options)
    started = time.perf_counter()
    model.fit(matrix, show_progress=False)
    return (time.perf_counter() - started) / epochs


def recbole_model(name: str, arrays: Any, epochs: int) -> float:
    """Seconds per epoch of a model of recbole in recbole's trainer, without evaluation."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.mkdir()
        rows = np.stack([pairs(arrays), arrays["items"]], axis=1)
        with (path / "data.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\n")
            np.savetxt(file, rows, fmt="%d", delimiter="\t")
        options = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id"]},
            "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": None, "mode": "full"},
            "train_batch_size": BATCH,
            "embedding_size": DIM,
            "epochs": epochs,
            "n_layers": 3,
            "use_gpu": False,
            "show_progress": False,
            "checkpoint_dir": folder,
        }
        config = import_module("recbole.config").Config(name, "data", config_dict=options)
        utils = import_module("recbole.data")
        data = utils.create_dataset(config)
        train, _, _ = utils.data_preparation(config, data)
        model = import_module("recbole.utils").get_model(name)(config, train.dataset)
        trainer = import_module("recbole.trainer").Trainer(config, model)
        started = time.perf_counter()
        trainer.fit(train, None, verbose=False, saved=False, show_progress=False)
        return (time.perf_counter() - started) / epochs


LIBRARIES = {"cornac": cornac_model, "implicit": implicit_model, "recbole": recbole_model}


def main(peer: str, file: str, epochs: int) -> None:
    """Print {"epoch": seconds, "peak": MB, "version"}, or {"fault": reason}."""
    library, _, name = peer.partition(" ")
    try:
        version = import_module(library).__version__
    except ImportError:
        print(json.dumps({"fault": "not installed"}))
        return
    arrays = np.load(file)
    try:
        seconds = LIBRARIES[library](name, arrays, epochs)
    except Exception as error:
        print(json.dumps({"fault": f"{type(error).__name__}: {error}".splitlines()[0][:80]}))
        return
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    print(json.dumps({"epoch": seconds, "peak": int(peak.split()[1]) // 1024, "version": version}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
