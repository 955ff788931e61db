"""Instruction sets: choosing one, what each object exports, and the machine code of the hot loop."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import closedform as cf
from closedform import _kernels
from conftest import ISAS, run_python

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "csrc"
FLAGS = ["-std=c++20", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", f"-I{SOURCES}"]
MARCH = {"baseline": "x86-64", "v3": "x86-64-v3", "v4": "x86-64-v4"}
ON_X86 = platform.machine() in ("x86_64", "AMD64")

needs_sources = pytest.mark.skipif(not SOURCES.is_dir(), reason="csrc/ is not here")


def needs(*tools):
    missing = [t for t in tools if shutil.which(t) is None]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


# -- choosing one --


def test_the_fastest_is_the_default():
    assert ISAS[0] in ("baseline", "neon")
    assert run_python("from closedform import _kernels; print(_kernels.isa())").stdout.strip() == ISAS[-1]


@pytest.mark.parametrize("name", ISAS)
def test_forced_by_the_environment(name):
    code = "import closedform as cf; c = cf.show_config(); print(c['isa'], c['isas available'])"
    assert run_python(code, CLOSEDFORM_ISA=name).stdout == f"{name} {ISAS}\n"


@pytest.mark.parametrize("name", ["", "v9", "AVX2", "v3 ", "neon" if ON_X86 else "v3"])
def test_unknown_or_unsupported_is_an_error(name):
    done = run_python("import closedform", CLOSEDFORM_ISA=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: CLOSEDFORM_ISA: expected one of")
    assert repr(name) in last


def test_selecting():
    for name in ISAS:
        assert _kernels.select_isa(name)
        assert _kernels.isa() == name
    assert not _kernels.select_isa("v9")
    assert _kernels.isa() == ISAS[-1]
    for junk in (None, 3, ["v3"]):
        with pytest.raises(TypeError):
            _kernels.select_isa(junk)


def test_isas_agree_within_rounding():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(100, 130)).astype(np.float32), rng.normal(size=(130, 70)).astype(np.float32)
    found = []
    for name in ISAS:
        _kernels.select_isa(name)
        found.append((cf.dense(x, w), cf.softmax(x), cf.gelu(x)))
    for results in zip(*found, strict=True):
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=0, atol=130 * np.finfo(np.float32).eps * 10)


# -- what the objects export --


def kernel_object(isa, tmp_path):
    """The object that the build left, or one compiled here, at -O1 to be done sooner."""
    newest = max(p.stat().st_mtime for p in SOURCES.rglob("*.?pp"))
    built = sorted(ROOT.glob(f"build/**/kernels_{isa}.dir/**/kernels.cpp.o"), key=lambda p: p.stat().st_mtime)
    if built and built[-1].stat().st_mtime > newest:
        return built[-1]
    compiled = tmp_path / "kernels.o"
    march = f"-march={MARCH[isa]}"
    run("g++", *FLAGS, "-O1", march, f"-DCF_ISA={isa}", "-c", SOURCES / "kernels.cpp", "-o", compiled)
    return compiled


@needs_sources
@needs("nm", "g++")
@pytest.mark.skipif(not ON_X86, reason="not x86-64")
@pytest.mark.parametrize("isa_name", MARCH)
def test_one_global_symbol_and_no_weak_ones(isa_name, tmp_path):
    """A weak symbol compiled for a newer instruction set could become the copy that all objects use."""
    exported = {}
    for line in run("nm", "--defined-only", kernel_object(isa_name, tmp_path)).splitlines():
        kind, name = line.split()[-2:]
        if kind.isupper() or kind in "uvw":
            exported[name] = kind
    assert exported.pop("DW.ref.__gxx_personality_v0", "V") == "V"  # a pointer for exception tables: data
    assert list(exported) == [f"_ZN10closedform{len(isa_name) + 6}table_{isa_name}E"]


# -- the hot loop --

PROBE = """
#define CF_ISA probe
#include "core/tile.hpp"

namespace closedform::CF_ISA {
namespace {

template <class T, class A>
CF_INLINE void run(ptrdiff_t K, A a, const T* b, ptrdiff_t ldb, T* c) {
    Vec<T> acc[tile_rows][tile_vectors] = {};
    tile<tile_rows, tile_vectors, T>(K, a, b, ldb, acc);
#pragma GCC unroll 16
    for (int i = 0; i < tile_rows; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < tile_vectors; ++v) store<T>(c + (i * tile_vectors + v) * lanes<T>, acc[i][v]);
}

}  // namespace

extern "C" {
void packed_f32(ptrdiff_t K, const float* a, const float* b, float* c) {
    run<float>(K, Packed<float>{a, K}, b, tile_columns<float>, c);
}
void packed_f64(ptrdiff_t K, const double* a, const double* b, double* c) {
    run<double>(K, Packed<double>{a, K}, b, tile_columns<double>, c);
}
void in_place_f32(ptrdiff_t K, const float* a, ptrdiff_t row, const float* b, ptrdiff_t ldb, float* c) {
    run<float>(K, InPlace<float>{a, row, 1}, b, ldb, c);
}
void in_place_f64(ptrdiff_t K, const double* a, ptrdiff_t row, const double* b, ptrdiff_t ldb, double* c) {
    run<double>(K, InPlace<double>{a, row, 1}, b, ldb, c);
}
}
}  // namespace closedform::CF_ISA
"""


def functions(disassembly):
    """name -> [(address, instruction)]"""
    found, name = {}, None
    for line in disassembly.splitlines():
        if head := re.fullmatch(r"[0-9a-f]+ <(\w+)>:", line):
            name = head[1]
            found[name] = []
        elif name and (code := re.fullmatch(r"\s*([0-9a-f]+):\s+(.+?)\s*", line)):
            found[name].append((int(code[1], 16), code[2]))
    return found


def innermost_loops(code):
    """Stretches from the target of a backward jump to the jump, that contain no other."""
    jumps = []
    for address, text in code:
        if (jump := re.match(r"j\w+\s+([0-9a-f]+)", text)) and int(jump[1], 16) <= address:
            jumps.append((int(jump[1], 16), address))
    inner = [j for j in jumps if not any(k != j and j[0] <= k[0] and k[1] <= j[1] for k in jumps)]
    return [[text for address, text in code if first <= address <= last] for first, last in inner]


@needs_sources
@needs("g++", "objdump")
@pytest.mark.skipif(not ON_X86, reason="not x86-64")
@pytest.mark.parametrize("isa_name", ["v3", "v4"])
def test_the_tile_stays_in_registers(isa_name, tmp_path):
    (tmp_path / "probe.cpp").write_text(PROBE)
    objects = tmp_path / "probe.o"
    run("g++", *FLAGS, "-O3", f"-march={MARCH[isa_name]}", "-c", tmp_path / "probe.cpp", "-o", objects)
    rows = {"v3": 6, "v4": 12}[isa_name]
    code = functions(run("objdump", "-d", "--no-show-raw-insn", objects))
    assert len(code) >= 4
    for name in ("packed_f32", "packed_f64", "in_place_f32", "in_place_f64"):
        loops = [loop for loop in innermost_loops(code[name]) if any("vfmadd" in i for i in loop)]
        assert len(loops) == 1, name
        (loop,) = loops
        kind = "ps" if name.endswith("32") else "pd"
        fused = [i for i in loop if re.match(rf"vfn?madd\d+{kind}\b", i)]
        assert len(fused) == 2 * rows, f"{name}: {len(fused)}"
        # %rbp may be an ordinary register; it is the stack only in functions that make it so.
        frame = any(re.match(r"mov\s+%rsp,%rbp", text) for _, text in code[name])
        stack = r"\(%r[sb]p" if frame else r"\(%rsp"
        spills = [i for i in loop if re.search(r"%[xyz]mm", i) and re.search(stack, i)]
        assert not spills, f"{name}: {spills}"


# -- arm64 from the same source --

CROSS = "aarch64-linux-gnu-g++"


@needs_sources
@needs(CROSS)
def test_neon_compiles_from_the_same_source(tmp_path):
    """And keeps its tile in registers."""
    (tmp_path / "probe.cpp").write_text(PROBE)
    run(CROSS, *FLAGS, "-fsyntax-only", "-DCF_ISA=neon", SOURCES / "kernels.cpp")
    run(CROSS, *FLAGS, "-O3", "-S", tmp_path / "probe.cpp", "-o", tmp_path / "probe.s")
    assembly = (tmp_path / "probe.s").read_text()
    for name in ("packed_f32", "in_place_f32"):
        body = assembly[assembly.index(f"\n{name}:") :]
        body = body[: body.index(".cfi_endproc")]
        loops = re.findall(r"\n(\.L\d+):\n((?:(?!\n\.L\d+:).)*?)\n\s*b\.?\w*\s+\1\n|$", body, re.DOTALL)
        counts = [len(re.findall(r"\bfmla\b", loop)) for _, loop in loops]
        assert 16 in counts, (name, counts)
        spills = [re.findall(r"\b(?:str|ldr|stp|ldp)\s+q\d+.*\[sp", loop) for _, loop in loops]
        assert not any(spills), (name, spills)


@pytest.mark.slow
@needs_sources
@needs(CROSS, "qemu-aarch64-static")
def test_neon_computes_the_right_thing(tmp_path):
    objects = []
    core = [SOURCES / "core" / f"{name}.cpp" for name in ("arena", "cpus", "isa", "parallel", "recycler")]
    for source in (SOURCES / "kernels.cpp", SOURCES / "tests" / "test_gemm.cpp", *core):
        objects.append(tmp_path / f"{source.stem}.o")
        defines = ["-DCF_ISA=neon"] if source.stem == "kernels" else ["-DCF_HAVE_NEON"]
        run(CROSS, *FLAGS, "-O2", *defines, "-c", source, "-o", objects[-1])
    program = tmp_path / "test_gemm"
    run(CROSS, "-static", "-pthread", *objects, "-o", program)
    assert run("qemu-aarch64-static", program).endswith("0 failed\n")
