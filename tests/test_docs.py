"""The documentation: its examples run, its links lead somewhere, its table of ops is the catalogue's.

`python tests/test_docs.py` writes the table in docs/reference.md anew.
"""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import closedform as cf
from closedform import catalogue

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- table of ops: begin -->\n", "<!-- table of ops: end -->\n"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


# -- examples --


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """(line, code) of a page's fenced blocks of Python."""
    text = page.read_text(encoding="utf-8")
    blocks = [(text.count("\n", 0, m.start(2)), m[1], m[2]) for m in FENCE.finditer(text)]
    return [(line, code) for line, language, code in blocks if language in ("python", "pycon")]


def run_examples(test: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    with np.printoptions():
        runner.run(test, out=report.append, clear_globs=False)
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)


# The blocks of a page are one session, in order: what one defines, the next may use.
@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=page_id)
def test_examples_of_the_page(page):
    parser, names = doctest.DocTestParser(), {"__name__": "__main__"}
    for line, code in python_blocks(page):
        if ">>>" not in code:
            exec(compile("\n" * line + code, str(page), "exec"), names)
            continue
        examples = parser.get_examples(code)
        for example in examples:
            example.lineno += line
        test = doctest.DocTest(examples, names, page.name, str(page), 0, None)
        run_examples(test)
        names = test.globs  # its own copy


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_prompt_is_in_a_block_that_runs(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert ">>>" not in prose
    assert "```" not in prose  # a fence that is not closed, or indented


def modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(cf.__path__, "closedform.")]
    no_examples = ("__main__", "_kernels", "libclosedform_core")  # the last is a library beside the modules
    return ["closedform", *(name for name in found if name.split(".")[1] not in no_examples)]


def docstring_tests() -> list[doctest.DocTest]:
    tests = []
    for name in modules():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as e:  # an extra that is not installed
            if (e.name or "").startswith("closedform"):
                raise
            continue
        tests += doctest.DocTestFinder(exclude_empty=True).find(module, name)
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("test", docstring_tests(), ids=lambda test: test.name)
def test_examples_of_the_docstring(test):
    run_examples(test)


# -- links --


def anchors(page: Path) -> set[str]:
    """The ids that Markdown gives to a page's headings, and those written by hand."""
    text = page.read_text(encoding="utf-8")
    ids: list[str] = re.findall(r'id="([^"]+)"', text)
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", FENCE.sub("", text), re.MULTILINE):
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        n = sum(i == slug or re.fullmatch(re.escape(slug) + r"_\d+", i) is not None for i in ids)
        ids.append(f"{slug}_{n}" if n else slug)
    return set(ids)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading in {target.name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_named_exist(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:csrc|src|tests|bench|docs)/[\w./-]*)`", prose):
        assert (ROOT / name).exists(), name


def test_every_page_is_in_the_navigation():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w./-]+\.md", settings))
    assert listed == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}


# -- the table of ops --


def summary(function: object) -> str:
    """The first paragraph of a docstring: what the op computes, with its formula."""
    text = (inspect.getdoc(function) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("|", "\\|")


def gradient_of(op: catalogue.Op) -> str:
    if op.backward:
        return f"`{op.backward}`"
    if op.proved_by:
        return f"checked with `{op.proved_by}`"
    return op.no_gradient or "no op of its own"


def table_of_ops() -> str:
    lines = ["| op | computes | backward |", "|---|---|---|"]
    lines += [f"| `{op.name}` | {summary(op.public)} | {gradient_of(op)} |" for op in catalogue.OPS]
    return "\n".join(lines) + "\n"


def test_table_of_ops_is_that_of_the_catalogue():
    written = REFERENCE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert written == table_of_ops(), "docs/reference.md: write the table anew with python tests/test_docs.py"


def test_every_public_name_is_in_the_reference():
    text = REFERENCE.read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: closedform\.([\w.]+)$", text, re.MULTILINE))
    public = set(cf.__all__) - {"__version__", "nn", "reference"} | {f"nn.{name}" for name in cf.nn.__all__}
    estimators = Path(cf.__file__).with_name("estimators") / "__init__.py"  # read only: it needs scikit-learn
    names = re.search(r"^__all__ = (\[[^]]*\])", estimators.read_text(encoding="utf-8"), re.MULTILINE)
    assert documented == public | {f"estimators.{name}" for name in ast.literal_eval(names[1])}


if __name__ == "__main__":
    before, _, rest = REFERENCE.read_text(encoding="utf-8").partition(BEGIN)
    REFERENCE.write_text(before + BEGIN + table_of_ops() + END + rest.partition(END)[2], encoding="utf-8")
    sys.exit(0)
