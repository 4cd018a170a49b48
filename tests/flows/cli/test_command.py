"""The `brmrs` command as a user types it."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from benchmark_layout import write_layout
from command_line import COMMAND, environment

from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import STAGES, needed

ALL = [stage.name for stage in STAGES]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, small_config: PipelineConfig) -> Path:
    """A folder with a configuration, and a Prefect home of its own."""
    (tmp_path / "small.yaml").write_text(small_config.to_yaml())
    return tmp_path


def brmrs(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=project,
        env=environment(project) | variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "Missing option"),
        (["bogus"], "No such command"),
        (["run", "-c", "nope.yaml"], "nope.yaml: No such file"),
        (["plan", "-c", "small.yaml", "-c", "nope.yaml"], "nope.yaml: No such file"),
        (["run", "-c", "small.yaml", "--set", "train.epochs=0"], "train.epochs"),
        (["run", "-c", "small.yaml", "--until", "nope"], "no stage 'nope'"),
        (["run", "-c", "small.yaml", "--refresh", "nope"], "no stage 'nope'"),
        (["plan", "-c", "small.yaml", "--set", "ingest.reviews=gone.gz"], "gone.gz"),
        (["plan", "-c", "small.yaml", "--set", "features.text.template={price}"], "price"),
        (["plan", "-c", "small.yaml", "--set", "features.visual.backbone=resnet19"], "resnet18"),
        (["tune", "-c", "small.yaml", "-c", "nope.yaml", "--model", "bm3"], "nope.yaml: No such"),
        (["tune", "-c", "small.yaml", "--model", "bm4"], "no model 'bm4'"),
        (
            ["tune", "-c", "small.yaml", "--model", "bm3", "--set", "train.processes=2"],
            "brmrs tune trains in one process; set train.processes=1",
        ),
        (["tune", "-c", "small.yaml", "--model", "most-popular"], "nothing to tune"),
        (["recommend", "--user", "x"], "no finished run"),
        (["recommend", "--history", "x,y"], "no finished run"),
        (["recommend"], "by --user, or a new user's items by --history"),
        (["recommend", "--user", "x", "--history", "y"], "name a user of the data by --user, or"),
        (["similar", "--item", "x", "-k", "0"], "-k"),
        (["up", "--port", "0"], "port"),
        (["run", "-c", "small.yaml", "--json", "nodir/x.json"], "no folder nodir"),
        (["run", "-c", "small.yaml", "--artifacts", "small.yaml"], "--artifacts small.yaml"),
        (["run", "-c", "small.yaml", "--set", "split.seed=-1"], "split.seed"),
        (["retrain", "-c", "nope.yaml"], "nope.yaml: No such file"),
        (["retrain", "-c", "small.yaml", "--set", "retrain.margin=-1"], "retrain.margin"),
        (["rollback"], "no earlier promoted run"),
        (["show", "nope"], "brmrs runs"),
        (["origin", "abc"], "no run holds"),
        (["inspect"], "Missing argument"),
        (["inspect", "gone.json"], "gone.json: no such file"),
        (["download", "Baby", "--generation", "2015", "--to", "x"], "2015"),
        (["download", "Bby", "--generation", "2014", "--to", "x"], "try Baby"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_the_user_can_fix_is_told_without_a_traceback(
    project: Path, arguments: list[str], told: str
) -> None:
    done = brmrs(project, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "artifacts" / "records").exists()  # no stage has run


def test_plan_of_a_fresh_folder(project: Path) -> None:
    done = brmrs(project, "plan", "-c", "small.yaml", "--json")
    assert done.returncode == 0
    steps = json.loads(done.stdout)
    assert [(step["name"], step["state"]) for step in steps] == [(name, "runs") for name in ALL]


def test_models_are_listed_with_what_they_need(project: Path) -> None:
    rows = {row["name"]: row for row in json.loads(brmrs(project, "models", "--json").stdout)}
    assert sorted(rows) == model_names()
    assert rows["vbpr"] == {
        "name": "vbpr",
        "paper": rows["vbpr"]["paper"],
        "needs": ["features"],
        "objective": False,
        "trains": True,
        "configuration": "configs/models/vbpr.yaml",
        "source": str(ROOT / "brmrs" / "models" / "vbpr.py"),
    }
    assert rows["vbpr"]["paper"].startswith("He and McAuley 2016, 'VBPR: ")
    assert rows["lattice"]["objective"]
    assert rows["ease"]["needs"] == []
    assert not rows["ease"]["trains"]
    assert all(row["paper"] and (ROOT / row["configuration"]).is_file() for row in rows.values())
    shown = brmrs(project, "models", COLUMNS="80").stdout
    assert {line.split()[0] for line in shown.splitlines() if line.split()} >= set(rows)
    assert all(part in shown.split() for part in ("interactions", "modality_graphs", "features,"))
    assert "-c configs/models/NAME.yaml" in shown


def test_inspect_tells_sizes_and_bad_lines(project: Path, small_sample: Path) -> None:
    done = brmrs(project, "inspect", str(small_sample), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (five,) = (core for core in found["cores"] if core["k"] == 5)
    assert 0 < five["interactions"] < found["interactions"]
    assert found["reviews"]["quarantined"]
    shown = brmrs(project, "inspect", str(small_sample))
    assert shown.returncode == 0, shown.stderr
    for part in ("users", "unusable: not JSON", "k-core", "items with image address"):
        assert part in shown.stdout


def test_doctor_finds_this_environment_fit(project: Path) -> None:
    done = brmrs(project, "doctor", "--json")
    checks = json.loads(done.stdout)
    assert done.returncode == 0, checks
    assert all(check["ok"] for check in checks)
    assert {"python", "torch", "torchvision", "text model"} <= {each["name"] for each in checks}


def test_run_then_recommend_then_similar(project: Path) -> None:
    done = brmrs(project, "run", "-c", "small.yaml", "--json", "summary.json")
    assert done.returncode == 0, done.stderr
    assert "report: artifacts/reports/20" in done.stdout
    assert "next: brmrs serve; serve and recommend take the newest run until" in done.stdout
    assert "random weights" in done.stdout
    summary = json.loads((project / "summary.json").read_text())
    assert [stage["state"] for stage in summary["stages"]] == ["ran"] * len(ALL)
    assert set(summary["metrics"]) == {"test", "validation"}

    again = brmrs(project, "run", "-c", "small.yaml", "--json", "-")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert [stage["state"] for stage in summary["stages"]] == ["cached"] * len(ALL)

    bundle = json.loads(
        next((project / "artifacts/objects/train").glob("*/bundle.json")).read_text()
    )
    user, asin = bundle["users"][0], bundle["items"][0]
    answer = json.loads(brmrs(project, "recommend", "--user", user, "-k", "3", "--json").stdout)
    named = {name: answer[name] for name in ("run", "model", "data", "promoted")}
    run = {"run": summary["run"], "model": "br-mrs", "data": "small", "promoted": False}
    assert named == run
    rows = answer["items"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["asin"] in bundle["items"] for row in rows)
    rows = json.loads(brmrs(project, "similar", "--item", asin, "--json").stdout)["items"]
    assert len(rows) == 10
    assert asin not in {row["asin"] for row in rows}

    known = ",".join(row["asin"] for row in answer["items"])
    new = brmrs(project, "recommend", "--history", f"{known},nothing", "-k", "3", "--json")
    found = json.loads(new.stdout)
    assert found["unknown"] == ["nothing"]
    assert len(found["items"]) == 3
    assert not {row["asin"] for row in found["items"]} & set(known.split(","))
    unknown = brmrs(project, "recommend", "--user", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr

    shown = brmrs(project, "show", "latest").stdout
    (machine,) = (line for line in shown.splitlines() if line.startswith("machine: "))
    pattern = r"machine: .+, Python 3\.\d+\.\d+, \d+ CPUs; the process held [\d.]+ .B at most"
    assert re.fullmatch(pattern, machine)
    recall = next(line for line in shown.splitlines() if "recall" in line)
    assert f"{summary['metrics']['test']['recall@20']:.4f}" in recall
    trained = {stage["name"]: stage["digest"] for stage in summary["stages"]}["train"]
    traced = brmrs(project, "origin", trained).stdout
    assert "reviews.jsonl.gz" in traced
    assert not re.search("ready_made|given|warm_start|visual_weights", traced)


def test_tune_with_several_files_leaves_what_it_searched(project: Path) -> None:
    (project / "bare.yaml").write_text("ingest: {metadata: []}\nimages: {folder: null}\n")
    (project / "models").mkdir()
    (project / "models" / "lightgcn.yaml").write_text("model: {name: lightgcn, dim: 8}")
    given = ["-c", "small.yaml", "-c", "bare.yaml", "--set", "train.epochs=1"]
    done = brmrs(project, "tune", *given, "--model", "lightgcn", "--trials", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert [trial["state"] for trial in json.loads(done.stdout)["trials"]] == ["complete"]
    text = (project / "tuned" / "small" / "lightgcn.yaml").read_text()
    assert yaml.safe_load(text) == {
        "model": {"name": "lightgcn", "dim": 8, "layers": 3, "regularization": 1e-4},
        "train": {"learning_rate": 1e-3},
    }
    files = "-c small.yaml -c models/lightgcn.yaml -c bare.yaml -c tuned/small/lightgcn.yaml"
    assert text.splitlines()[2] == f"#   brmrs run {files} --set train.epochs=1"
    assert not json.loads(done.stdout)["replaced"]
    again = brmrs(project, "tune", *given, "--model", "lightgcn", "--trials", "1").stdout
    assert "tuned/small/lightgcn.yaml in place of the file that was there" in again


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sigkill_in_every_stage_then_the_same_command(project: Path) -> None:
    """Completes, with what was finished cached, and the bytes of an undisturbed run."""
    undisturbed = brmrs(project, "run", "-c", "small.yaml", "--artifacts", "calm", "--json", "-")
    digests = [stage["digest"] for stage in json.loads(undisturbed.stdout)["stages"]]
    killed = []
    for name in ALL:
        store = f"killed-in-{name}"
        child = subprocess.Popen(
            [*COMMAND, "run", "-c", "small.yaml", "--artifacts", store],
            cwd=project,
            env=environment(project),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while child.poll() is None and not (project / store / "scratch" / name).exists():
            time.sleep(0.0005)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            killed.append(name)
        child.wait()
        done = brmrs(project, "run", "-c", "small.yaml", "--artifacts", store, "--json", "-")
        assert done.returncode == 0, (name, done.stderr)
        stages = json.loads(done.stdout)["stages"]
        assert [stage["digest"] for stage in stages] == digests, name
        kept = {stage["name"] for stage in stages if stage["state"] == "cached"}
        assert {stage.name for stage in needed(PipelineConfig(), name)} - {name} <= kept, name
    assert killed == ALL


def test_a_stage_that_fails_is_told_in_one_line_though_others_wait_for_it(project: Path) -> None:
    values = {
        "name": "tiny",
        "ingest": {"format": "ready-made", "path": str(write_layout(project / "tiny"))},
        "split": {"protocol": "given"},
        "features": {"text": {"model": "imported"}, "visual": {"backbone": "imported"}},
        "images": {"fetch": False},
        "graphs": {"modality": "knn"},
        "model": {"name": "lightgcn"},
        "train": {"learning_rate": 1e30, "epochs": 5},
    }
    (project / "diverges.yaml").write_text(yaml.safe_dump(values))
    done = brmrs(project, "run", "-c", "diverges.yaml")
    assert done.returncode == 2, done.stderr
    assert "error: training diverged" in done.stderr
    assert "Traceback" not in done.stderr
