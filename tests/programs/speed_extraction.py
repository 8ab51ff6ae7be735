"""Measures ResNet-152 here and in Keras in one run, in turn: images per CPU second.

    python tests/programs/speed_extraction.py

Random weights, the same in both; needs tf-keras. CPU time counts the threads of both libraries, and
is disturbed less than the clock by other work on the machine.
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import jax
import numpy as np

from spotting.video import resnet, winograd

BATCH, ROUNDS = 8, 4


def main() -> None:
    import tf_keras

    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    inputs = np.asarray(resnet.preprocess(pictures))
    keras = tf_keras.applications.ResNet152(weights=None, include_top=False, pooling="avg")
    weights: dict[str, dict[str, np.ndarray]] = {}
    for layer in keras.layers:
        for variable in layer.weights:
            name = variable.name.rpartition("/")[2].partition(":")[0]
            weights.setdefault(layer.name, {})[name] = variable.numpy()
    by_winograd = winograd.is_faster("float32")
    params = jax.device_put(resnet.make_params(resnet.fold(weights), by_winograd))
    model = resnet.ResNet152(winograd=by_winograd)
    ours = jax.jit(lambda tree, x: model.apply({"params": tree}, x))
    programs = {
        "here": lambda: np.asarray(ours(params, inputs)),
        "Keras": lambda: keras.predict_on_batch(inputs),
    }
    first, second = (program() for program in programs.values())
    print(f"greatest difference {np.abs(first - second).max() / np.abs(second).max():.1e}")
    best = dict.fromkeys(programs, np.inf)
    for _ in range(ROUNDS):
        for name, program in programs.items():
            start = time.process_time()
            program()
            best[name] = min(best[name], time.process_time() - start)
    for name, seconds in best.items():
        print(f"{name:8}{BATCH / seconds:6.2f} images per CPU second")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
