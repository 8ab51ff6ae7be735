import sys

import jax
import jax.numpy as jnp
import keras_fixture
import numpy as np
import pytest

from configs import common
from spotting.base.errors import InputError
from spotting.base.files import write_json_atomic
from spotting.import_keras import import_models, read_weights
from spotting.models.keras_names import from_keras, kind_of, to_keras
from spotting.runs.setup import make_network
from spotting.runs.trained import load_run

pytestmark = pytest.mark.slow

T, P, K = 16, 12, 3
UNET = {"trunk": "unet", "unet": {"levels": 2}, "reduction": (16, 8)}
TRANSFORMER = {
    **{"trunk": "transformer", "reduction": (16, 8)},
    "transformer": {"layers": 2, "width": 8, "num_heads": 2, "mlp_dim": 16},
}
CHUNKS = np.random.default_rng(0).standard_normal((2, T, P)).astype(np.float32)


@pytest.fixture
def config_of(tmp_path):
    """A config of small networks for a data set of the right sizes."""
    description = {"name": "small", "frame_rate": 1.0, "features": "x", "feature_dim": P}
    description |= {"classes": ["a", "b", "c"], "splits": {"test": ["game"]}}
    write_json_atomic(tmp_path / "data" / "dataset.json", description)

    def make(sizes):
        config = common.get_config()
        config.data.update(root=str(tmp_path / "data"), features="")
        config.anchors.chunk = float(T)
        config.model.update(sizes)
        return config

    return make


@pytest.fixture
def write_h5(tmp_path, config_of):
    """Writes an .h5 file as Keras does; gives its path and the parameters in it."""
    h5py = pytest.importorskip("h5py")

    def write(sizes, kind):
        network = make_network(config_of(sizes), kind, K)
        shapes = jax.eval_shape(network.init, jax.random.key(0), CHUNKS)
        generator = np.random.default_rng(1)
        params = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, "f"), shapes)
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            for name, array in to_keras(params, kind).items():
                file[f"{name.split('/')[0]}/{name}"] = array
        return path, params

    return write


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("sizes", [UNET, TRANSFORMER], ids=["unet", "transformer"])
def test_two_models_become_a_run(tmp_path, config_of, write_h5, sizes):
    paths, params = zip(*(write_h5(sizes, k) for k in ("confidence", "displacement")), strict=True)
    import_models(paths, config_of(sizes), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert_equal((run.confidence.params, run.displacement.params), params)


def test_one_after_the_other_and_no_displacement_until_then(tmp_path, config_of, write_h5, capsys):
    config, workdir = config_of(UNET), tmp_path / "run"
    (confidence, params), (displacement, shifts) = (
        write_h5(UNET, kind) for kind in ("confidence", "displacement")
    )
    import_models([confidence], config, workdir)
    assert "displacements are zero" in capsys.readouterr().err
    run = load_run(workdir)
    assert_equal(run.confidence.params, params)
    outputs = run.displacement.network.apply(run.displacement.params, CHUNKS)
    assert jnp.all(outputs == 0)
    import_models([displacement], config, workdir)
    assert_equal(load_run(workdir).displacement.params, shifts)
    with pytest.raises(InputError, match="has a confidence model"):
        import_models([confidence], config, workdir)


def test_another_network_s_weights_write_nothing(tmp_path, config_of, write_h5):
    path, _ = write_h5(UNET, "confidence")
    config = config_of(UNET | {"reduction": (16, 12)})
    shapes = r"input_reduction_out/bias is \(8,\) but the model has \(12,\)"
    with pytest.raises(InputError, match=rf"confidence.h5: the weights do not fit .*{shapes}"):
        import_models([path], config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_of_the_official_code(tmp_path, config_of):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["dense/dense/kernel:0"] = np.zeros((2, 3))
    with pytest.raises(InputError, match="its layers are dense"):
        import_models([tmp_path / "other.h5"], config_of(UNET), tmp_path / "run")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match=r"damaged, or no \.h5 file"):
        read_weights(tmp_path / "text.h5")
    with pytest.raises(InputError, match="neither a SavedModel"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_weights(tmp_path / "nothing")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_checkpoint_that_ends_early(tmp_path, suffix, share):
    tf = pytest.importorskip("tensorflow")
    prefix = tmp_path / "weights"
    tf.train.Checkpoint(kernel=tf.Variable(tf.zeros((50, 50)))).write(str(prefix))
    assert [array.shape for array in read_weights(prefix).values()] == [(50, 50)]
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match="not a checkpoint of Keras's"):
        read_weights(prefix)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "checkpoint").touch()
    with pytest.raises(InputError, match="pip install tensorflow-cpu"):
        read_weights(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "weights.h5").touch()
    with pytest.raises(InputError, match="pip install h5py"):
        read_weights(tmp_path / "weights.h5")


# The rest needs Keras 2, to write what the official code wrote: pip install --no-deps tf-keras
# beside a TensorFlow of the same version.


def keras_transformer(keras, tf):
    class Attention(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="attention")
            self.k, self.q, self.v, self.out = (
                keras.layers.Dense(8, name=f"{name}_proj") for name in ("k", "q", "v", "out")
            )

        def call(self, x):
            q, k, v = (tf.reshape(layer(x), (-1, T, 2, 4)) for layer in (self.q, self.k, self.v))
            weights = tf.nn.softmax(tf.einsum("bthc,bshc->bhts", q, k) / 2)
            return self.out(tf.reshape(tf.einsum("bhts,bshc->bthc", weights, v), (-1, T, 8)))

    class FeedForward(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="feed_forward")
            self.hidden = keras.layers.Dense(16, name="intermediate_dense")
            self.out = keras.layers.Dense(8, name="output_dense")

        def call(self, x):
            return self.out(tf.nn.gelu(self.hidden(x), approximate=False))

    class Layer(keras.layers.Layer):
        def __init__(self, index):
            super().__init__(name=f"layer_groups.{index}")
            self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="layer_norm")
            self.last_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="final_layer_norm")
            self.attention, self.feed_forward = Attention(), FeedForward()

        def call(self, x):
            x = x + self.attention(self.norm(x))
            return x + self.feed_forward(self.last_norm(x))

    class Positions(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="pos_learned_embed")
            self.table = keras.layers.Embedding(T, 8, name="position_embeddings")

        def call(self, x):
            return x + self.table(tf.range(T))

    class Encoder(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="encoder")
            self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="layer_norm")
            self.positions = Positions()
            self.embed = keras.layers.Dense(8, name="embedding_hidden_mapping_in")
            self.layer_groups = [Layer(index) for index in range(2)]

        def call(self, x):
            x = self.embed(self.positions(x))
            for layer in self.layer_groups:
                x = layer(x)
            return self.norm(x)

    inputs, x = keras_fixture.reduced(keras, T, P, (16, 8))
    x = tf.expand_dims(Encoder()(tf.squeeze(x, 2)), 2)
    head = keras.layers.Conv2D(K, (3, 1), padding="same", name="delta_convolution")
    return keras.Model(inputs, tf.tanh(head(x)))


@pytest.fixture(scope="module")
def keras_models(tmp_path_factory):
    """A folder with a confidence U-net and a displacement transformer in all of Keras's forms."""
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("tf_keras")
    root = tmp_path_factory.mktemp("keras")
    outputs = {}
    models = {
        "unet": keras_fixture.unet(keras, T, P, K, UNET["reduction"], UNET["unet"]["levels"]),
        "te": keras_transformer(keras, tf),
    }
    for name, model in models.items():
        generator = np.random.default_rng(2)
        model.set_weights([generator.normal(0, 0.3, w.shape) for w in model.get_weights()])
        # A step, so that there is an optimiser's state to leave aside.
        model.compile(keras.optimizers.legacy.Adam(), "mse")
        model.train_on_batch(CHUNKS[..., None], np.zeros((2, T, 1, K)))
        model.save(root / name / "saved_model")
        model.save_weights(root / name / "checkpoint" / "weights")
        model.save_weights(root / name / "weights.h5")
        outputs[name] = model.predict(CHUNKS[..., None], verbose=0)[:, :, 0]
    return root, outputs


@pytest.mark.parametrize(
    "form", ["saved_model", "checkpoint", "checkpoint/weights", "weights.h5", "."]
)
def test_keras_and_its_weights_here_give_equal_outputs(config_of, keras_models, form):
    root, outputs = keras_models
    for name, sizes, kind in (("unet", UNET, "confidence"), ("te", TRANSFORMER, "displacement")):
        weights = read_weights(root / name / form)
        assert kind_of(weights) == kind
        network = make_network(config_of(sizes), kind, K)
        template = jax.eval_shape(network.init, jax.random.key(0), CHUNKS)
        ours = jax.jit(network.apply)(from_keras(weights, template, kind), CHUNKS)
        np.testing.assert_allclose(ours, outputs[name], rtol=1e-4, atol=1e-5)


def test_windows_for_another_number_of_classes_are_refused(tmp_path, config_of, write_h5):
    path, _ = write_h5(UNET, "confidence")
    config = config_of(UNET)
    config.postprocessing.window = (1.0, 2.0)
    with pytest.raises(InputError, match="one for each of the 3 classes"):
        import_models([path], config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
