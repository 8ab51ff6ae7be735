"""Every field of an experiment, once, with the paper's (or the official code's) value.

A config file starts from `get_config` and changes what is its own. On the command line any field
can be set: --config.training.epochs=10.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

ABLATIONS = ("du", "sam", "sam_mixup")


def get_config() -> ConfigDict:
    """The fields that all experiments share."""
    config = ConfigDict()

    # Trainings to run, each with its own initialisation, chunks and mixup.
    config.seeds = (0,)
    # How many of them train in one program; 0: as many as a GPU's memory holds, elsewhere one.
    config.seeds_at_once = 0
    # The paper's own, of two models; configs/common_systems.py has the others.
    config.system = "anchors"
    # The row of the paper's tables that this reproduces, for reports.
    config.paper_row = ""
    # How the study was shrunk, in words, for the titles of reports; empty at full scale.
    config.scale_note = ""

    config.data = data = ConfigDict()
    data.root = ""  # folder of the matches: dataset.json, or SoccerNet-v2's tree
    data.features = "ResNET_TF2_PCA512"  # "" takes what dataset.json names
    data.simulated = False  # play matches and write them to `root` (default: the workdir) first
    data.simulated_video = False  # as videos, whose features are then extracted
    data.train, data.valid, data.test = "train", "valid", "test"  # names of the splits
    # Where training events are placed: by "gameTime", in whole seconds, as the official code does;
    # by "position", in milliseconds, on the nearest frame; or "evaluation", on the last frame that
    # is not later, where SoccerNet's evaluator has them if there are 2 frames per second.
    data.event_time = "gameTime"
    data.loader = "auto"  # "resident", "stream", or whichever fits the device's memory
    data.resident_dtype = "float32"  # of the features that the resident loader keeps on the device
    # Parts of a streamed batch, read apart from each other; at least one a process. The batches are
    # the same on any number of processes that divides it, but more parts are slower to read.
    data.stream_parts = 1
    data.prepared_dir = ""  # of the streamed data set; default: <root>/prepared
    data.storage = "float16"  # dtype of prepared features: float32, float16, bfloat16
    data.concatenate = ()  # more feature sets, put beside the first
    data.resample = 0.0  # frames per second to resample to, linearly; 0 keeps the rate
    data.normalize = "none"  # "max_abs" or "standard", fitted on the training split

    config.model = model = ConfigDict()
    model.trunk = "unet"  # or "transformer"
    model.projection = 512  # wider features are projected to this first
    model.reduction = (256, 64)  # the input MLP; its last width is the U-net's first
    model.unet = ConfigDict({"levels": 6})  # time scales
    model.transformer = ConfigDict({"layers": 4, "width": 128, "num_heads": 4, "mlp_dim": 512})
    # "auto" suits it to the platform; "cudnn" is for GPUs and bfloat16.
    model.transformer.attention = "auto"
    model.dtype = "float32"  # of the computation; parameters and losses are float32
    # Of float32 products: TPUs and GPUs round their factors, unless this is "highest".
    model.precision = "default"

    config.anchors = anchors = ConfigDict()
    anchors.chunk = 112.0  # seconds
    anchors.confidence_radius = 3.0  # seconds around an event that are positive
    # Within it: "box", all alike; or "gaussian", falling from the event on.
    anchors.confidence_shape = "box"
    anchors.displacement_radius = 6.0  # seconds around an event with a displacement
    anchors.positive_share = 0.03  # of a class's confidence loss, before the network has learned
    anchors.huber_threshold = 0.5  # in units of the displacement radius

    config.training = training = ConfigDict()
    training.batch_size = 256
    training.chunks_per_epoch = 8192
    training.epochs = 1000
    training.validate_every = 10  # epochs
    # On the validation split, by average-mAP; "last" keeps the final weights, and "loss", for
    # systems that have one there, those of the least.
    training.select = "best"
    training.end_fraction = 0.01  # of the learning rate and weight decay, reached at the end
    training.adam_b1 = 0.9
    training.adam_b2 = 0.999
    training.adam_eps = 1e-7
    training.sam_eps = 1e-12
    # Runs an epoch whose loss or gradient is not finite again, operation by operation, to name the
    # one that it comes from; needs memory for a second state.
    training.debug_nans = False
    # Of a moving average of the weights, which is then what is validated, saved and predicted with;
    # it reaches back about 1 / (1 - decay) steps. 0 for none.
    training.average_decay = 0.0

    # What the paper's search tunes, for each of the two models. mixup is for confidence only.
    config.confidence = ConfigDict(
        {"learning_rate": 1e-3, "weight_decay": 2e-4, "rho": 0.0, "mixup_alpha": 0.0}
    )
    # What is changed by chance in the features of each chunk, anew in each step.
    config.confidence.augmentation = augmentation = ConfigDict()
    augmentation.repeat_frames = 0.0  # share of frames with the features of the frame before
    augmentation.drop_frames = 0.0  # share of frames with the mean features of the chunk
    augmentation.drop_features = 0.0  # share of features that are 0 in the whole chunk
    augmentation.shift_frames = 0.0  # the most that a chunk is moved, as a fraction of a frame
    config.displacement = ConfigDict({"learning_rate": 2e-3, "weight_decay": 5e-4, "rho": 0.0})
    # What to start from instead of fresh weights: a run folder, or a model of the official code
    # (SavedModel, checkpoint, .h5). "{seed}" in it stands for the seed.
    config.confidence.initial_weights = config.displacement.initial_weights = ""

    # What python -m spotting.tune tries on the validation split, one list after the other; an
    # empty one is left out.
    config.tune = tune = ConfigDict()
    tune.confidence = ConfigDict(
        {
            "learning_rate": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
            "rho": (0.0, 0.1, 0.2, 0.5, 1.0, 2.0),
            "weight_decay": (0.0, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
            "mixup_alpha": (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            "radius": (),  # anchors.confidence_radius, in seconds
        }
    )
    tune.displacement = ConfigDict(
        {
            "learning_rate": (2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
            "rho": (0.0, 0.1, 0.2, 0.5, 0.7, 1.0),
            "weight_decay": (0.0, 1e-4, 2e-4, 5e-4, 1e-3),
            "radius": (),  # anchors.displacement_radius, in seconds
        }
    )
    tune.window = (3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0)  # seconds
    tune.decay = ()  # of soft suppression; each is tried with each window
    tune.vote_spread = ()  # tried before the displacement's scale
    tune.displacement_scale = ()  # tried before the windows
    tune.measure = "loose"  # average-mAP, "tight", or "both", by which the window is chosen
    # Whether each class gets a window and a decay of its own. The gain of a class with n events
    # counts n / (n + pseudo_events), the mean gain of all classes the rest.
    tune.per_class = False
    tune.pseudo_events = 30.0

    config.inference = inference = ConfigDict()
    inference.border = 50.0  # seconds of a chunk's output dropped on either side
    inference.valid_border = 20.0  # the same while training
    inference.min_kept = 10.0  # seconds kept of a chunk whatever the border
    inference.segment_chunks = 32  # chunks that go through the network at once
    inference.save_predictions = True  # confidence and displacement of every frame, as .npz

    config.postprocessing = postprocessing = ConfigDict()
    postprocessing.nms = "hard"  # or "soft", or "half_open", hard as NetVLAD++ and CALF have it
    # Seconds: the full width for hard NMS, the radius for soft. One for all, or one per class.
    postprocessing.window = (20.0,)
    # Of soft NMS: "linear", "quadratic" or "gaussian". One for all, or one per class.
    postprocessing.decay = ("linear",)
    # Displacements are multiplied by this before anchors vote: what is predicted for an uncertain
    # event is too far as often as too near, and half the way may be better than all of it.
    postprocessing.displacement_scale = 1.0
    # The standard deviation of a vote, in seconds: votes are added up, not the greatest one taken,
    # and each is spread over the frames around its place. 0 takes the greatest, as the paper does.
    postprocessing.vote_spread = 0.0
    # Frames per second at which votes are counted, 0 for the features'. Where theirs are few, what
    # is predicted is interpolated first, and spots lie between frames.
    postprocessing.vote_rate = 0.0
    postprocessing.displacement_window = 3.0  # hard, when choosing the displacement model
    postprocessing.soft_threshold = 1e-5
    postprocessing.f1_tolerance = 5.0  # seconds, at which thresholds.json is best

    config.devices = devices = ConfigDict()
    devices.count = 0  # accelerators to spread a batch over; 0 takes all
    # A device is no faster with fewer chunks of a batch than this: several seeds are then trained
    # side by side, each on devices of its own.
    devices.min_chunks = 16
    devices.distributed = False  # several hosts: jax.distributed.initialize first

    config.logging = logging = ConfigDict()
    logging.tensorboard = True
    logging.progress = True
    # FIRST:LAST, steps of each model to trace into <workdir>/profile, for TensorBoard or Perfetto.
    logging.profile = ""
    return config


def ablate(config: ConfigDict, ablation: str | None, names: str) -> ConfigDict:
    """Turns SAM and mixup off as the config's argument says.

    Args:
      config: with the full method's values.
      ablation: "du", "sam" or "sam_mixup" (the default).
      names: the row's name with {} for the ablation, as in "DU{} ResNet+PCA".
    """
    ablation = ablation or "sam_mixup"
    if ablation not in ABLATIONS:
        raise ValueError(f"unknown config argument {ablation!r}; one of {', '.join(ABLATIONS)}")
    if ablation != "sam_mixup":
        config.confidence.mixup_alpha = 0.0
        config.tune.confidence.mixup_alpha = ()
    if ablation == "du":
        for model in ("confidence", "displacement"):
            config[model].rho = 0.0
            config.tune[model].rho = ()
    suffix = {"du": "", "sam": "+SAM", "sam_mixup": "+SAM+mixup"}[ablation]
    config.paper_row = names.format(suffix)
    return config


def study(rows: tuple[str, ...]) -> ConfigDict:
    """A study: experiments that one command runs, and what it changes in all of them.

    Besides the fields set here it has those of an experiment: one that is given a value, here or on
    the command line, has it in every row; the others stay as each row's own config has them.

    Args:
      rows: configs as --config takes them, in the order in which they are to run.
    """
    config = _unset(get_config())
    config.rows = rows
    config.seeds = (0, 1, 2, 3, 4)  # the paper's figures are means of five trainings
    # Fractions of the rows' own sizes: of all layers' widths, and of the transformers' layers.
    config.scale = ConfigDict({"width": 1.0, "depth": 1.0})
    return config


def _unset(fields: ConfigDict) -> ConfigDict:
    """The same fields with a type but no value."""
    return ConfigDict(
        {
            name: _unset(value) if isinstance(value, ConfigDict) else placeholder(type(value))
            for name, value in fields.items()
            if name not in ("paper_row", "scale_note", "system", "tune")
        }
    )
