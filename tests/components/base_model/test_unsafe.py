"""Models of people whom nobody knows: what they bring neither runs nor holds up who imports it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.base_model import bounded
from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.model_files import model_folder
from tests.helpers.tiny_model import make_tiny_model

ENDLESS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
HUGE = "{{ ('x' * 100000) * 100000 }}"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return make_tiny_model(tmp_path / "model")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def long_header(data: bytes) -> bytes:
    return (2**62).to_bytes(8, "little") + data[8:]


def lying_header(data: bytes) -> bytes:
    """A tensor that lies behind the end of the file."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"0" * 64


@pytest.mark.parametrize("damage", [cut, long_header, lying_header, lambda _: b"", lambda _: b"\x80\x04pickle"])
def test_weights_with_a_wrong_header_are_refused(base: Path, damage: Callable[[bytes], bytes]) -> None:
    path = base / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="model.safetensors is no safetensors file"):
        import_model(str(base.parent / "store"), BaseModelSettings(base=str(base)))


@pytest.mark.parametrize(("template", "why"), [(ENDLESS, "does not come to an end"), (HUGE, "takes too much memory")])
def test_a_template_that_does_not_end_is_refused_in_time(
    base: Path, template: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 3.0)
    start = time.monotonic()
    with pytest.raises(UserError, match=f"the chat template of .* {why}"):
        import_model(str(base.parent / "store"), BaseModelSettings(base=str(base), chat_template=template))
    assert time.monotonic() - start < 20


def test_neither_code_nor_pickles_are_taken_along(base: Path) -> None:
    """Of a folder; from the hub only weights and descriptions come anyway."""
    for name in ("modeling.py", "optimizer.pt", "scaler.PKL", "training_args.bin", "rng.pth", "model.ckpt"):
        (base / name).write_bytes(b"\x80\x04")
    made = import_model(str(base.parent / "store"), BaseModelSettings(base=str(base)))
    folder = model_folder(f"{base.parent}/store/base_model/{made.key}")
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja"}


def linked(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("notes.json", "../secret.json", "link out of the model's folder, to .*secret.json"),
        ("vocab.txt", "/etc/passwd", "link out of the model's folder, to /etc/passwd"),
        ("model-2.safetensors", "nothing", "leads nowhere"),
        ("loop.json", "loop.json", "leads nowhere"),
        ("additional_chat_templates", "../others", "link out of the model's folder"),
    ],
)
def test_a_link_out_of_the_folder_is_refused(base: Path, name: str, target: str, why: str) -> None:
    """What stood there would be published as a file of the model's."""
    (base.parent / "secret.json").write_text("{}")
    (base.parent / "others").mkdir()
    linked(base / name, target)
    with pytest.raises(UserError, match=why):
        import_model(str(base.parent / "store"), BaseModelSettings(base=str(base)))


def test_links_of_the_hub_s_cache_and_within_the_folder_are_followed(base: Path) -> None:
    """models--a--b/snapshots/REVISION/config.json -> ../../blobs/HASH; and a folder that is itself a link."""
    snapshot, blobs = base.parent / "hub" / "snapshots" / "1234", base.parent / "hub" / "blobs"
    blobs.mkdir(parents=True)
    shutil.copytree(base, snapshot)
    for path in list(snapshot.iterdir()):
        path.rename(blobs / path.name)
        linked(path, f"../../blobs/{path.name}")
    linked(base / "same.json", "config.json")
    linked(base.parent / "link", str(snapshot))
    store, links = str(base.parent / "store"), base.parent / "link"
    by_cache = import_model(store, BaseModelSettings(base=str(links)))
    assert by_cache.files == import_model(store, BaseModelSettings(base=str(snapshot))).files
    assert any(name.endswith("/same.json") for name in import_model(store, BaseModelSettings(base=str(base))).files)


@pytest.mark.parametrize(
    "name", ["../../etc", "owner/..", "a/b/../../c", "~root/x", "owner/\0", "./x", "a/" + "b" * 5000]
)
def test_an_id_that_looks_like_a_path_is_refused(base: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError):
        import_model(str(base.parent / "store"), BaseModelSettings(base=name))
