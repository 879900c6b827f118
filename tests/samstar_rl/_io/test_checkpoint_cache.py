"""Checkpoints by name are downloaded once, verified, and missed with good advice."""

from __future__ import annotations

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import load_file

from samstar_rl._io import checkpoint_cache as checkpoints
from samstar_rl._io.checkpoint_cache import (
    CHECKPOINTS,
    Checkpoint,
    CheckpointError,
    fetch_checkpoint,
)
from samstar_rl.sam.load import OFFICIAL_MODELS, SamLoadError, load_sam, packaged_weights_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMSTAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAMSTAR_OFFLINE", raising=False)
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A checkpoint served by this machine; the list of what was asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "sam.pth").write_bytes(b"weights")
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_address[1]}/sam.pth"
    sha256 = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setitem(checkpoints.CHECKPOINTS, "served", Checkpoint("vit_b", url, sha256))
    yield asked
    httpd.shutdown()
    httpd.server_close()


def test_a_checkpoint_is_downloaded_once_and_verified(cache, server):
    path = fetch_checkpoint("served")
    assert path.read_bytes() == b"weights" and path.parent == cache
    assert fetch_checkpoint("served") == path
    assert len(server) == 1


def test_a_damaged_copy_is_downloaded_anew(cache, server):
    fetch_checkpoint("served").write_bytes(b"damaged")
    assert fetch_checkpoint("served").read_bytes() == b"weights"
    assert len(server) == 2


def test_what_has_another_sha256_is_refused_and_not_kept(cache, server, monkeypatch):
    wrong = Checkpoint("vit_b", CHECKPOINTS["served"].url, "0" * 64)
    monkeypatch.setitem(checkpoints.CHECKPOINTS, "served", wrong)
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        fetch_checkpoint("served")
    assert not list(cache.glob("*.pth"))


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_the_cure_is_named(cache, monkeypatch, offline):
    if offline:
        monkeypatch.setenv("SAMSTAR_OFFLINE", "1")
    nowhere = Checkpoint("vit_b", "http://127.0.0.1:9/sam.pth", "0" * 64)
    monkeypatch.setitem(checkpoints.CHECKPOINTS, "vit_b", nowhere)
    with pytest.raises(SamLoadError, match=r"put it at .*vit_b\.pth, or give the path"):
        load_sam("vit_b")


def test_every_name_has_an_architecture_an_address_and_a_checksum():
    assert set(OFFICIAL_MODELS) <= set(CHECKPOINTS)
    for checkpoint in CHECKPOINTS.values():
        assert checkpoint.architecture in OFFICIAL_MODELS
        assert checkpoint.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", checkpoint.sha256)


def test_micro_sams_wrapped_state_dict_is_unwrapped(tmp_path):
    import torch

    path = tmp_path / "best.pt"
    weights = load_file(packaged_weights_path())
    torch.save({"model_state": weights, "epoch": 3}, path)
    assert load_sam(path).samstar_name == "tiny"
