"""TensorFlow for the modules that cannot do without it: builder.py and stream.py.

It reads and writes files here, nothing else: GPUs are left to JAX.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from spotting.base.errors import InputError

# Neither the chatter at import nor the CPU kernels that it announces are of use here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

try:
    import tensorflow as tf
    import tensorflow_datasets as tfds
except ImportError as error:
    raise InputError(
        "streaming and preparing need TensorFlow: pip install tensorflow-cpu tensorflow-datasets; "
        "or train from the folder itself with --config.data.loader=resident"
    ) from error

tf.config.set_visible_devices([], "GPU")

__all__ = ["os_errors", "tf", "tfds"]


@contextlib.contextmanager
def os_errors(folder: str) -> Iterator[None]:
    """A block in which TensorFlow works on files of `folder`: its errors become OSErrors."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
    except tf.errors.PermissionDeniedError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder) from error
    except tf.errors.OpError as error:
        raise OSError(f"{folder}: {error.message}") from error
