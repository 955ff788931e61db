"""The command line, run as a user runs it."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from closedform import __version__, _kernels
from closedform.catalogue import OPS
from closedform.cli import COMMANDS, main
from closedform.cli.bench import cases, libraries, measure, report
from closedform.cli.bench.processes import Worker, WorkerError

QUICKLY = ("--threads", "1", "--peers", "--seconds", "0.02")
HAS_TORCH = importlib.util.find_spec("torch") is not None


def run(*args: str, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "closedform", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **kwargs)


def without(*modules: str) -> list[str]:
    """A Python that cannot import these, and runs `closedform` with the arguments that follow."""
    code = (
        "import sys, importlib.util as u\n"
        f"hidden = {modules!r}\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name.split('.')[0] in hidden else find(name, *a)\n"
        "class Hide:\n"
        "    def find_spec(self, name, *a):\n"
        "        if name.split('.')[0] in hidden: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from closedform.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return [sys.executable, "-c", code]


# -- usage --


def test_help_names_every_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert run("--version").stdout == f"closedform {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["verify", "conv9d"], ["bench", "conv9d"], ["info", "more"]]
)
def test_wrong_usage_has_status_2_and_says_why(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error:" in capsys.readouterr().err


def test_closed_pipe_is_no_error():
    command = f"{sys.executable} -m closedform verify activation | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("closedform")
    assert done.stderr == ""


# -- info and verify: NumPy alone --


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert __version__ in text
    assert _kernels.isa() in text
    assert "MiB" in text
    assert main(["info", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["closedform"] == __version__
    assert config["memory held"] >= 0


def test_verify_checks_every_op(capsys):
    isa = _kernels.isa()
    assert main(["verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert [row["op"] for row in report["ops"]] == [op.name for op in OPS]
    assert all(row["cases"] > 0 for row in report["ops"])
    assert _kernels.isa() == isa


def test_verify_prints_a_line_an_op(capsys):
    assert main(["verify", "linear", "relu"]) == 0
    text = capsys.readouterr().out
    assert all(f"[{i}/3] {name}" in text for i, name in ((1, "dense"), (2, "dense_backward"), (3, "relu")))
    assert "3 ops" in text
    assert "all passed" in text


def test_verify_fails_when_a_kernel_is_wrong(monkeypatch, capsys):
    right = _kernels.tanh
    monkeypatch.setattr(_kernels, "tanh", lambda x, out: right(x, out) * x.dtype.type(1.0001))
    assert main(["verify", "tanh"]) == 1
    text = capsys.readouterr().out
    assert "FAILED v3 float32, n = " in text or "FAILED baseline float32, n = " in text
    assert "1 op, " in text
    assert "FAILED: tanh" in text
    assert main(["verify", "tanh", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


@pytest.mark.parametrize("command", [["info"], ["verify", "loss"]], ids=["info", "verify"])
def test_numpy_alone_is_enough(command):
    hidden = without("tqdm", "tabulate", "sklearn", "safetensors", "torch", "pytest")
    done = subprocess.run([*hidden, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "extra"), [(["bench"], "bench"), (["train", "digits"], "train")])
def test_missing_extra_is_named(command, extra):
    hidden = without("tqdm", "tabulate", "sklearn")
    done = subprocess.run([*hidden, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f'pip install "closedform[{extra}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_import_of_closedform_brings_neither_catalogue_nor_cli():
    code = (
        "import sys, closedform; print([m for m in sys.modules if 'catalogue' in m or 'closedform.cli' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


# -- bench --


def test_bench_measures_and_checks():
    done = run("bench", "softmax_jacobian", "train_step", *QUICKLY, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {(row["op"], row["label"]): row for row in found["rows"]}
    assert ("softmax_jacobian", "512x100") in rows
    assert ("train_step", "batch 64") in rows
    for row in rows.values():
        ours = row["libraries"]["closedform"]
        assert row["correct"] is True
        assert ours["error"] <= row["allowed_error"]
        assert ours["seconds"] > 0
        assert row["of_limit"] > 0
        assert ours["scratch"] is None or 0 <= ours["scratch"] <= ours["memory"]
        assert row["speedup"].keys() == {"twin"}
    assert found["limits"][0]["GFLOP/s"]["float32"] > 0


def test_bench_prints_a_table_and_explains_it():
    done = run("bench", "softmax_jacobian", "dense_backward", "--threads", "1", "2", *QUICKLY[2:])
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 120
    for word in (
        "softmax_jacobian",
        "512x100",
        "GB/s",
        "x twin",
        "limit, 2 threads",
        "every answer checked",
        "import closedform",
    ):
        assert word in done.stdout


def test_default_cases_cover_what_is_promised():
    chosen = {(case.op, case.label) for case in cases.choose([], full=False)}
    for shape in ("480x480x480", "960x960x960", "192x192x192", "6x512x512", "16x512x512", "4x8x4"):
        assert ("dense", shape) in chosen
    assert ("cross_entropy_with_grad", "4096x1000") in chosen
    assert {("conv2d", "8x56x56x64 64 3x3"), ("conv2d_backward", "8x56x56x64 64 3x3")} <= chosen
    assert {("train_step", f"batch {n}") for n in (1, 16, 64, 1024)} <= chosen
    full = {(case.op, case.label) for case in cases.choose([], full=True)}
    assert chosen < full
    assert ("cross_entropy_with_grad", "2048x32000") in full
    assert {op for op, _ in full} == {op.name for op in OPS} | {"train_step", "text_step"}


def test_wrong_answer_is_shown_and_fails(tmp_path):
    case = cases.Case("relu", "64k", "float32")
    with measure.Session(["closedform", "twin"], 1, 0.01, tmp_path) as session:
        row = session.measure(case)
        ours = {
            "first": 0,
            "flops": 1.0,
            "bytes": 1,
            "memory": None,
            "scratch": None,
            "error": 1e9,
            "allowed": 4,
            "samples": [1.0],
        }
        found = {"closedform": ours}
        wrong = session._row(case, found)
    assert row["correct"]
    assert not wrong["correct"]
    assert "WRONG" in report.table({"rows": [wrong]})


def test_workers_stop_while_others_run():
    def state(worker: Worker) -> str:
        with open(f"/proc/{worker._process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    if not os.path.exists("/proc/self/stat"):
        pytest.skip("no /proc here")
    with Worker("closedform", 1) as one, Worker("twin", 1) as other:
        for worker in (one, other):
            worker.ask("bandwidth", moved=1 << 16)
        deadline = time.monotonic() + 5
        while (state(one), state(other)) != ("T", "T"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_worker_that_fails_or_dies_is_reported():
    with Worker("closedform", 1) as worker:
        with pytest.raises(WorkerError, match=r"closedform: .*nonsense"):
            worker.ask("nonsense")
        worker._process.kill()
        with pytest.raises(WorkerError, match="the process of closedform ended"):
            worker.ask("limits", dtype="float32")


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_torch_computes_the_same():
    done = run("bench", "--threads", "1", "--seconds", "0.02", "--json")
    rows = json.loads(done.stdout)["rows"]
    # its gelu, for one, cancels on the left and is off by 1800 eps
    assert all(row["libraries"]["torch"]["error"] <= 1000 * row["allowed_error"] for row in rows)


def test_sklearn_computes_the_same():
    for op in ("gmm_e_step", "gmm_m_step", "gmm_em_step"):
        case = cases.Case(op, "full 200x4x3", "float64")
        job = libraries.prepare("sklearn", case)
        assert libraries.judge(case).error(job.check()) <= 10 * cases.allowed(case)  # densities less exact


def test_interrupt_ends_quietly_and_leaves_no_process():
    command = [sys.executable, "-m", "closedform", "bench", "--peers", "--threads", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert err.rstrip().endswith("interrupted")
    if os.path.exists("/proc/self/stat"):
        assert process.pid not in sessions()


def sessions() -> set[int]:
    """The sessions that processes belong to."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.add(int(path.read_text().rpartition(")")[2].split()[3]))
    return found
