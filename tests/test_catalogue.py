"""Every op of the catalogue: complete on every floor, equal to its twin, gradients right, errors clear."""

import ast
import importlib.machinery
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import closedform as cf
from closedform import _kernels
from closedform.catalogue import (
    COMPILED,
    HELPER_KERNELS,
    NOT_OPS,
    OPS,
    Call,
    error_in_eps,
    find,
    outputs,
)
from closedform.catalogue.op import arrays

DTYPES = (np.float32, np.float64)
BY_NAME = {op.name: op for op in OPS}
every_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.fixture(params=["compiled", "reference"])
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


# -- complete: twin, wrapper, kernel, stub, gradient, benchmark --


def test_every_op_is_listed_once():
    assert len(BY_NAME) == len(OPS)
    classes = {name for name in cf.__all__ if inspect.isclass(getattr(cf, name))}
    assert set(cf.__all__) - classes - {"__version__"} == set(BY_NAME) | set(NOT_OPS)


def test_every_op_has_a_twin_and_every_twin_an_op():
    assert set(cf.reference.__all__) == set(BY_NAME) | {"conv2d_output_shape", "samme_alpha"}
    for op in OPS:
        module = op.public.__module__.removeprefix("closedform.")
        assert op.twin.__module__ == f"closedform.reference.{module}", (
            "a family has one file name on every floor"
        )


CALLABLE = ast.FunctionDef, ast.ClassDef


def stub(module: str) -> dict[str, ast.AST]:
    tree = ast.parse(Path(cf.__file__).with_name(f"{module}.pyi").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, CALLABLE)}
    constants = {node.target.id: node for node in tree.body if isinstance(node, ast.AnnAssign)}
    return functions | constants


def test_every_compiled_module_is_listed():
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    found = {
        path.name.split(".")[0]
        for path in Path(_kernels.__file__).parent.iterdir()
        if path.name.endswith(suffixes)
    }
    assert {name for name in found if name.startswith("_")} == set(COMPILED)


@pytest.mark.parametrize("module", COMPILED)
def test_stub_tells_what_the_compiled_module_holds(module):
    compiled = importlib.import_module(f"closedform.{module}")
    functions = {
        name for name in dir(compiled) if callable(getattr(compiled, name)) and not name.startswith("_")
    }
    assert functions == {name for name, node in stub(module).items() if isinstance(node, CALLABLE)}
    for name in stub(module):
        assert hasattr(compiled, name)


def test_stub_tells_how_many_arguments_a_kernel_takes():
    for name, node in stub("_kernels").items():
        if isinstance(node, ast.FunctionDef):
            signature = getattr(_kernels, name).__doc__.split("->")[
                0
            ]  # pybind11 writes "name(arg0: ...) -> ..."
            assert len(re.findall(r"\barg\d+:", signature)) == len(node.args.posonlyargs), name


def test_every_kernel_belongs_to_an_op_or_is_a_listed_helper():
    used = {kernel for op in OPS for kernel in op.kernel_names}
    helpers = {f"_kernels.{name}" for name in HELPER_KERNELS}
    functions = {
        f"{module}.{name}"
        for module in COMPILED
        for name, node in stub(module).items()
        if isinstance(node, CALLABLE)
    }
    assert used | helpers == functions
    assert not used & helpers


@every_op
def test_wrapper_and_twin_have_one_signature(op):
    def shape(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert shape(op.public) == shape(op.twin)


@every_op
def test_entry_is_complete(op):
    ways = (op.gradients, op.proved_by, op.no_gradient)
    assert sum(way is not None for way in ways) == 1, "one of gradients, proved_by, no_gradient"
    if op.proved_by is not None:
        assert BY_NAME[op.proved_by].backward == op.name
    if op.backward is not None:
        assert BY_NAME[op.backward].proved_by == op.name
        assert op.gradients is not None
    assert any(not bench.slow for bench in op.benches), "a benchmark case for the quick run"
    assert list(op.edge(np.float32))
    assert list(op.hostile())
    for bench in op.benches:
        if not bench.slow:
            assert op.flops(bench.make(np.float32)) > 0


@every_op
def test_docstring_tells_what_a_reader_needs(op):
    text = inspect.getdoc(op.public) or ""
    assert len(text.splitlines()) >= 2
    assert re.search(r"raises|errors", text, re.IGNORECASE), "how it fails"


def test_find():
    assert find([]) == list(OPS)
    assert [op.name for op in find(["linear", "relu"])] == ["dense", "dense_backward", "relu"]
    with pytest.raises(ValueError, match=r"op: expected .*dense.*; got 'conv9d'"):
        find(["conv9d"])


# -- equal to the float64 twin --


@every_dtype
@every_op
def test_kernel_equals_twin(op, dtype, isa):
    for call in (*op.ordinary(dtype), *op.edge(dtype)):
        error = error_in_eps(op, call, outputs(op, op.public, call))
        assert error <= op.allowed(call), f"{call.label}: {error} eps"


@every_op
def test_twin_works_in_float32_too(op):
    for call in op.ordinary(np.float32):
        error = error_in_eps(op, call, outputs(op, op.twin, call))
        assert error <= 4 * op.allowed(call), f"{call.label}: {error} eps"


@every_op
def test_backends_answer_through_the_same_wrapper(op, backend):
    call = next(iter(op.ordinary(np.float64)))
    assert error_in_eps(op, call, outputs(op, op.public, call)) <= op.allowed(call)


@every_op
def test_comparison_sees_a_wrong_result(op):
    call = list(op.ordinary(np.float32))[4]
    right = outputs(op, op.twin, call)
    for spoil in (
        lambda a: a * np.float32(1.001),
        lambda a: a + np.float32(np.nan),
        lambda a: a.astype(np.float64),
    ):
        assert not error_in_eps(op, call, tuple(map(spoil, right))) <= op.allowed(call)
    assert not error_in_eps(op, call, ()) <= op.allowed(call)


# -- gradients, against central differences --


@pytest.mark.parametrize("op", [op for op in OPS if op.gradients], ids=lambda op: op.name)
def test_gradient(op, isa):
    for g in op.gradients(cf):
        report = cf.gradcheck(g.f, g.backward, g.inputs)
        assert report, f"{g.label}: {report}"


@pytest.mark.parametrize("op", [op for op in OPS if op.gradients], ids=lambda op: op.name)
def test_gradient_of_twin(op):
    for g in op.gradients(cf.reference):
        report = cf.gradcheck(g.f, g.backward, g.inputs)
        assert report, f"{g.label}: {report}"


# -- memory layouts --


def layouts(a: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same values, otherwise laid out."""
    yield "Fortran order", np.asfortranarray(a)
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
    wide[..., 1::2] = a
    yield "every other column", wide[..., 1::2]
    yield "backwards", a[::-1].copy()[::-1]
    raw = np.zeros(a.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(a.dtype).reshape(a.shape)
    unaligned[...] = a
    yield "unaligned", unaligned
    yield "other byte order", a.astype(a.dtype.newbyteorder())
    read_only = a.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only


@every_dtype
@every_op
def test_layout_of_inputs_does_not_matter(op, dtype):
    names = list(inspect.signature(op.public).parameters)
    call = max(op.ordinary(dtype), key=lambda call: (call.args[0].ndim, call.args[0].size))
    want = outputs(op, op.public, call)
    for i, (name, a) in enumerate(zip(names, call.args, strict=False)):
        if not isinstance(a, np.ndarray) or name in op.updates:
            continue
        for layout, same in layouts(a):
            changed = Call("", (*call.args[:i], same, *call.args[i + 1 :]), call.options)
            got = outputs(op, op.public, changed)
            for g, w in zip(got, want, strict=True):
                np.testing.assert_array_equal(g, w, err_msg=f"{name} {layout}", strict=True)


@every_op
def test_inputs_are_not_modified(op):
    for call in op.ordinary(np.float32):
        before = [a.copy() for a in arrays(call)]
        outputs(op, op.public, call)  # hands copies to an op that updates in place
        for a, b in zip(arrays(call), before, strict=True):
            np.testing.assert_array_equal(a, b)


# -- threads --


@every_op
def test_bits_do_not_depend_on_threads(op):
    calls = (bench.make(np.float32) for bench in op.benches if not bench.slow)
    if op.bound_by == "arithmetic":
        call = next(
            call for call in calls if op.flops(call) <= 2e9
        )  # a thousand tasks; larger ones take long
    else:
        call = max(calls, key=lambda call: call.args[0].size)
    with cf.num_threads(1):
        want = outputs(op, op.public, call)
    for n in (2, 3, 5, 8):
        with cf.num_threads(n):
            for g, w in zip(outputs(op, op.public, call), want, strict=True):
                assert g.tobytes() == w.tobytes(), f"{n} threads"
