"""The architecture: what may import what, what loads heavy libraries, and how large functions and files are."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.paths import ROOT

# From the bottom to the top. A folder (or a file that lies directly in pipelines/) imports from the layers before its
# own and never from its neighbours: what a change may break stands further down this list.
LAYERS: list[list[str]] = [
    # errors, settings, records, the store, stages and their keys, progress
    ["components/core"],
    # M0, its tokenizer and its chat template
    ["components/base_model"],
    # one subject each: human messages, statistics, the cluster's API, MLflow, what all trainings share
    [
        "components/seed_data",
        "components/metrics",
        "components/kubernetes",
        "components/registry",
        "components/training",
    ],
    # our own HTTP server for models, from the inside out
    ["components/serving/embedded/model"],
    ["components/serving/embedded/decoding"],
    ["components/serving/embedded/scheduler"],
    ["components/serving/embedded/http"],
    ["components/serving/embedded"],
    # the client of any server, servers as Deployments, and the engines that start them
    ["components/serving"],
    ["components/serving/kubernetes"],
    ["components/serving/engines"],
    # what a served model is asked for
    ["components/prompts", "components/judging", "components/evaluation/lm_eval"],
    [
        "components/eft",
        "components/sampling",
        "components/evaluation/alpaca_eval",
        "components/evaluation/mt_bench",
    ],
    ["components/evaluation/exact_answers"],
    ["components/pairs"],
    # a model measured, a model trained
    ["components/evaluation", "components/training/sft", "components/training/dpo"],
    ["components/training/launch"],
    # what people say of it, what its figures decide; how a run begins, ends, and is reported
    ["components/review", "components/gate"],
    ["components/run"],
    # what a person writes down, and what becomes of it: one package for Kubeflow Pipelines
    ["pipelines/plan"],
    # a run that goes on, shown
    ["pipelines/watch"],
    ["pipelines/recipe_errors.py"],
    ["pipelines/recipe.py", "pipelines/lint.py", "pipelines/runs.py"],
    ["pipelines/scale.py", "pipelines/settings_reference.py"],
    ["pipelines/graph"],
    ["pipelines/compile.py"],
    # what a run would find in a store, and what it would take
    ["pipelines/forecast"],
    # where it runs, and how it is asked for
    ["pipelines/compiled", "pipelines/local"],
    ["pipelines/cluster"],
    ["pipelines/cli"],
]

# Libraries that only some places may import, in a function or not: folders, files, or all files of a name.
TORCH = ("torch", "trl", "transformers", "peft", "datasets", "accelerate", "safetensors")
OWNERS: dict[tuple[str, ...], tuple[str, ...]] = {
    TORCH: ("components/training/", "components/base_model/", "components/serving/embedded/"),
    ("kfp",): (
        "component.py",
        "pipelines/graph/",
        "pipelines/compile.py",
        "pipelines/local/execute.py",
        "pipelines/cluster/",
    ),
    ("kubernetes",): ("components/kubernetes/", "pipelines/graph/", "pipelines/cluster/"),
    ("mlflow",): ("components/registry/", "pipelines/cli/models.py"),
    ("boto3", "botocore"): ("components/core/",),
    ("sklearn",): ("components/metrics/",),
    ("lm_eval",): ("components/evaluation/lm_eval/",),
    ("matplotlib",): ("components/run/charts.py",),
    ("fastapi", "uvicorn"): ("components/serving/embedded/",),
    ("typer",): ("pipelines/cli/",),
}

ROOT_PACKAGES = {"components", "pipelines"}
PARTS = {  # that a library is never without
    "botocore": "boto3",
    "kfp-server-api": "kfp",
    "protobuf": "mlflow-skinny",
    "pydantic-core": "pydantic",
    "safetensors": "transformers",
    "scipy": "scikit-learn",
    "urllib3": "kubernetes",
}
FUNCTION_MEDIAN, FUNCTION_TENTH, FUNCTION_MAX = range(8, 13), 40, 80  # nine of ten are no longer than 40 lines
FILE_MEDIAN, FILE_MAX = range(90, 141), 400
PARAMETERS_MAX = 8

COMPONENTS = sorted(ROOT.glob("components/**/*.py"))
FILES = COMPONENTS + sorted(ROOT.glob("pipelines/**/*.py"))
TESTS = sorted([*ROOT.glob("tests/components/**/*.py"), *ROOT.glob("tests/pipelines/**/*.py")])
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


MODULES = {name(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules that a file imports when it runs, in functions too; not what type checkers alone see."""
    found: set[str] = set()
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: imports are absolute"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (members & set(MODULES)) | ({str(node.module)} if members - set(MODULES) else set())
    return frozenset(found)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without the bodies of `if TYPE_CHECKING`."""
    yield node
    hidden = node.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") else []
    for child in ast.iter_child_nodes(node):
        if child not in hidden:
            yield from _running(child)


def files_imported(path: Path) -> set[Path]:
    return {MODULES[module] for module in imported(path) if module in MODULES} - {path}


def room(path: Path) -> str:
    """The folder of a file; a file that lies directly in pipelines/ is a room of its own."""
    return name(path) if path.parent == ROOT / "pipelines" else name(path.parent)


def top(modules: frozenset[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def may_import(path: Path, places: tuple[str, ...]) -> bool:
    return path.name in places or name(path).startswith(tuple(place for place in places if "/" in place))


def circle(graph: Mapping[str, set[str]]) -> str:
    """One circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " <- ".join(error.args[1])
    return ""


def test_every_folder_is_in_one_layer() -> None:
    named = [folder for layer in LAYERS for folder in layer]
    assert sorted(named) == sorted({room(path) for path in FILES if path.read_text().strip()})


def test_imports_point_to_lower_layers() -> None:
    height = {folder: number for number, layer in enumerate(LAYERS) for folder in layer}
    wrong = [
        f"{name(path)} imports {name(other)}"
        for path in FILES
        for other in files_imported(path)
        if room(other) != room(path) and height.get(room(other), 0) >= height.get(room(path), 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_folder_imports_itself_by_way_of_others() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        others = {room(other) for other in files_imported(path)} - {room(path)}
        graph[room(path)] = graph.get(room(path), set()) | others
    assert not circle(graph)


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert not circle({name(path): {name(other) for other in files_imported(path)} for path in FILES})


def test_components_never_import_pipelines() -> None:
    wrong = [
        name(path) for path in FILES if name(path).startswith("components/") and "pipelines" in top(imported(path))
    ]
    assert not wrong


def test_stages_never_import_the_kfp_shell() -> None:
    shells = {path for path in COMPONENTS if path.name.endswith("component.py")}
    assert not [name(path) for path in COMPONENTS if files_imported(path) & shells]


@pytest.mark.parametrize("libraries", OWNERS, ids=lambda libraries: libraries[0])
def test_a_library_is_imported_where_it_belongs(libraries: tuple[str, ...]) -> None:
    users = [path for path in FILES if top(imported(path)) & set(libraries)]
    assert users, "no file imports it: the list of owners is out of date"
    assert not [name(path) for path in users if not may_import(path, OWNERS[libraries])]


def test_every_library_that_is_imported_is_declared() -> None:
    """Else it is there only where another library happens to bring it: on a developer's machine, not in an image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for name, extra in project["optional-dependencies"].items() if name != "dev" for one in extra]
    declared = {canonicalize_name(Requirement(one).name) for one in [*project["dependencies"], *extras]}
    declared |= {name for name, library in PARTS.items() if library in declared}
    brought_by, missing = packages_distributions(), set()
    for library in set().union(*(top(imported(path)) for path in FILES)) - sys.stdlib_module_names - ROOT_PACKAGES:
        if not declared & {canonicalize_name(one) for one in brought_by.get(library, [library])}:
            missing.add(library)
    assert not missing


def loaded_by(module: str) -> set[str]:
    """Everything that is loaded once a module is imported."""
    code = f"import sys, components.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "stage",
    [
        "sampling.sampling",
        "judging.judging",
        "pairs.pairs",
        "prompts.prompts",
        "eft.eft",
        "evaluation.evaluation",
        "evaluation.measure",
        "evaluation.exact_answers.answering",
        "evaluation.alpaca_eval.annotation",
        "evaluation.mt_bench.answering",
    ],
)
def test_a_step_that_only_talks_to_servers_starts_without_heavy_libraries(stage: str) -> None:
    assert not {*TORCH, "kfp", "mlflow", "boto3", "scipy"} & loaded_by(stage)


@pytest.mark.parametrize("stage", ["training.sft.sft", "training.dpo.dpo", "base_model.base_model"])
def test_a_training_step_that_finds_its_work_done_starts_without_torch(stage: str) -> None:
    assert not set(TORCH) & loaded_by(stage)


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_can_be_read_at_a_glance() -> None:
    sizes = {f"{name(path)}:{node.lineno} {node.name}": lines(node) for path in FILES for node in functions(path)}
    assert not {place: size for place, size in sizes.items() if size > FUNCTION_MAX}
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= FUNCTION_TENTH
    assert FUNCTION_MEDIAN[0] <= statistics.median(sizes.values()) <= FUNCTION_MEDIAN[-1]


def test_files_hold_one_subject() -> None:
    sizes = {name(path): path.read_text().count("\n") for path in FILES if path.read_text().strip()}
    assert not {place: size for place, size in sizes.items() if size > FILE_MAX}
    assert FILE_MEDIAN[0] <= statistics.median(sizes.values()) <= FILE_MEDIAN[-1]


def test_functions_have_few_parameters() -> None:
    """Where KFP or the command line reads the signature it is as long as they need it."""
    many = {}
    for path in FILES:
        for node in functions(path):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([one for one in arguments if one.arg not in ("self", "cls")])
            if count > PARAMETERS_MAX and not any(_reads_the_signature(one) for one in node.decorator_list):
                many[f"{name(path)}:{node.lineno} {node.name}"] = count
    assert not many


def _reads_the_signature(decorator: ast.expr) -> bool:
    called = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return called in ("dsl.component", "dsl.pipeline") or called.endswith((".command", ".callback"))


def test_tests_mirror_the_code() -> None:
    """A folder of tests has the path of the folder that it tests, and each file there imports from that folder, itself
    or by a helper."""
    for path in TESTS:
        assert (ROOT / path.relative_to(ROOT / "tests").parent).is_dir(), f"{name(path)}: there is no such folder"
    astray = []
    for path in TESTS:
        package = ".".join(path.relative_to(ROOT / "tests").parent.parts)
        seen = imported(path) | {module for helper in _helpers(path) for module in imported(helper)}
        if path.name.startswith("test_") and not any(f"{module}.".startswith(f"{package}.") for module in seen):
            astray.append(name(path))
    assert not astray


def _helpers(path: Path) -> list[Path]:
    modules = [module for module in imported(path) if module.startswith("tests.helpers.")]
    return [ROOT / f"{module.replace('.', '/')}.py" for module in modules]


def test_plain_words() -> None:
    """The code speaks of the architecture and of core, as everybody does."""
    ours = re.compile(r"\bthis house\b|\bthe house\b|\bhouse rules?\b|\bground floor\b", re.IGNORECASE)
    kinds = ("*.py", "*.yaml", "*.yml", "*.sh", "*.tpl", "*.md", "Makefile", "Dockerfile")
    folders = ("components", "pipelines", "examples", "charts", "images", "tests", "docs", ".ci", ".github")
    texts = [path for folder in folders for kind in kinds for path in (ROOT / folder).rglob(kind)]
    texts += [path for kind in kinds for path in ROOT.glob(kind)]
    assert not [name(path) for path in texts if path != Path(__file__) and ours.search(path.read_text())]
