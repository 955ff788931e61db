"""What is installed: imports, names, types, size."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import closedform as cf
from conftest import run_python

ROOT = Path(__file__).parents[1]
PACKAGE = Path(cf.__file__).parent


def test_import_brings_in_numpy_and_nothing_else():
    code = """
import sys, numpy
before = set(sys.modules)
import closedform
added = [n for n in set(sys.modules) - before if getattr(sys.modules[n], "__file__", None)]
print(sorted({n.split(".")[0] for n in added} - set(sys.stdlib_module_names) - {"numpy"}))
"""
    assert run_python(code).stdout == "['closedform']\n"


def test_import_is_quiet_even_with_warnings_as_errors():
    done = run_python("import closedform", "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_import_starts_no_thread():
    """Threads are started by the first kernel that can use them: importing must not hinder a fork."""
    code = (
        "import closedform, os; t = '/proc/self/task'; print(len(os.listdir(t)) if os.path.isdir(t) else 1)"
    )
    numpy_alone = code.replace("closedform", "numpy", 1)
    assert run_python(code).stdout == run_python(numpy_alone).stdout


def test_all_is_complete_and_importable():  # ruff keeps it sorted
    assert len(set(cf.__all__)) == len(cf.__all__)
    for name in cf.__all__:
        assert getattr(cf, name) is not None
    public = {
        n
        for n in vars(cf)
        if not n.startswith("_") and getattr(vars(cf)[n], "__module__", "").startswith("closedform")
    }
    assert public <= set(cf.__all__)


def test_every_op_has_a_docstring_and_a_twin():
    for name in cf.__all__:
        member = getattr(cf, name)
        if callable(member):
            assert member.__doc__, name
    with pytest.raises(AttributeError):
        cf.no_such_op  # noqa: B018


def test_typed():
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_kernels.pyi").is_file()


def test_the_version_is_one():
    from importlib import metadata

    assert cf.show_config()["closedform"] == cf.__version__
    try:
        assert metadata.version("closedform") == cf.__version__
    except metadata.PackageNotFoundError:
        pytest.skip("not installed: run from the source tree")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_the_gil_stays_off():
    code = "import sys, closedform; print(sys._is_gil_enabled())"
    assert run_python(code, "-W", "error").stdout == "False\n"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="no source tree")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_wheel(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-w", str(tmp_path)]
    options = [f"--config-settings=build-dir={tmp_path / 'build'}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 1 << 20
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "closedform/py.typed" in names
    assert "closedform/_kernels.pyi" in names
    assert any(n.startswith("closedform/_kernels.") and n.endswith((".so", ".pyd")) for n in names)
    assert not any(
        n.endswith((".cpp", ".hpp", ".pyx", ".pxi", ".o", ".a")) or n.startswith(("tests/", "csrc/"))
        for n in names
    )
    assert any("LICENSE" in n for n in names)
