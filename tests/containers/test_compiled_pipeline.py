"""The compiled file runs with each step in a container of its own, as on a cluster: kfp's DockerRunner, our images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core import store as store_module
from components.core.images import TRAINER, WORKER
from components.core.store import open_store
from pipelines.compile import compile_recipe
from pipelines.local.services import BUCKET, services
from pipelines.recipe import load_recipe
from tests.helpers.docker_daemon import require_images
from tests.helpers.server_farm import farm
from tests.helpers.small_world import write_small_world

pytestmark = [pytest.mark.slow, pytest.mark.containers]
RUN = "world-in-containers"
STORE = f"s3://{BUCKET}/artifacts"
ONE_ROUND = ("rounds=1", "annotation.head_to_head=false", "instructions=null", "evaluation.exact_answers.samples=2")
# kfp.local hands an image that is a parameter to Docker as the placeholder that it is; a cluster's driver resolves it.
WALK = """
import json, re, sys
from kfp import components, local
from kfp.local import docker_task_handler
compiled, outputs, environment, parameters, images = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
docker_task_handler.add_latest_tag_if_not_present = lambda image: images[re.search("(\\\\w+)_image", image)[1]]
local.init(runner=local.DockerRunner(network_mode="host", environment=environment), pipeline_root=outputs)
components.load_component_from_file(compiled)(**parameters)
"""


def test_every_step_runs_in_its_image_as_a_user_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of the small world; the images' user owns nothing but /work and /tmp."""
    require_images("worker", "trainer")
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    world = write_small_world(tmp_path / "world")
    compiled = tmp_path / "pipeline.yaml"
    with services() as local:
        for name, value in local.environment().items():
            monkeypatch.setenv(name, value)
        store_module._s3.cache_clear()
        recipe = load_recipe(in_store(world), ONE_ROUND)
        compile_recipe(recipe, compiled)
        with farm(STORE, RUN, recipe.serving) as endpoint:
            place = {"store": STORE, "tracking_uri": local.tracking_uri, "run": RUN}
            log = walk(compiled, local.environment(), place | {"engine": "endpoint", "endpoint": endpoint})
        summary = json.loads(open_store(f"{STORE}/runs/{RUN}").read("summary.json") or b"{}")
        aliases = MlflowClient(local.tracking_uri).get_registered_model(recipe.name).aliases
    store_module._s3.cache_clear()
    assert [model["name"] for model in summary["models"]] == ["m0", "sft", "m1", "m2"]
    assert {"sft", "m1", "m2"} <= set(aliases)
    assert local.environment()["AWS_SECRET_ACCESS_KEY"] not in log


def in_store(recipe: Path) -> str:
    """The recipe with its files in the store, where containers find them."""
    folder, text = recipe.parent, recipe.read_text()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != recipe:
            open_store(f"s3://{BUCKET}/world").upload(path, str(path.relative_to(folder)))
    recipe.write_text(text.replace(str(folder), f"s3://{BUCKET}/world"))
    return str(recipe)


def walk(compiled: Path, environment: dict[str, str], parameters: dict[str, str]) -> str:
    """Run the compiled file in a process of its own; returns what it printed. The images' user writes the outputs."""
    outputs = compiled.parent / "outputs"
    outputs.mkdir(mode=0o777)
    os.chmod(outputs, 0o777)
    os.chmod(compiled.parent, 0o755)
    given = (environment, parameters, {"worker": WORKER, "trainer": TRAINER})
    command = [sys.executable, "-c", WALK, str(compiled), str(outputs), *map(json.dumps, given)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr
