"""Small configs shared by tests."""

IMAGES = """\
device = "cpu"
metrics = ["accuracy", "f1"]
postprocess = "classification"
[model]
name = "tinynet"
config = { n_pixels = 16, n_classes = N_CLASSES }
[[criterion]]
type = "cross_entropy"
[transform]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]
[train]
batch_size = 4
epoch = 1
optimizer = { type = "sgd" }
"""
"""Training on grayscale images of 4 x 4 pixels; append the table `[dataset]`, and replace N_CLASSES."""

BLOBS = """\
output_dir = "runs"
task = "blobs"
device = "cpu"
metrics = ["accuracy"]
postprocess = "classification"
classes = ["left", "right"]

ddp.nproc = 1
private.report = false

[model]
name = "tinynet"

[[criterion]]
type = "cross_entropy"

[dataset]
name = "blobs"
config = { n = 40, n_test = 7 }

[dataset.split]
train = 0.8
valid = 0.2

[train]
batch_size = 8
epoch = 2
optimizer = { type = "sgd", learning_rate = 0.1, momentum = 0.9 }
"""
"""A run of about one second with 32 train, 8 valid and 7 test samples."""

DIGITS = """\
seed = 3
device = "cpu"
metrics = ["accuracy"]
postprocess = "classification"

ddp.enabled = false
private.report = false

[model]
name = "tinynet"
config = { n_pixels = 784, n_classes = 10, dropout = 0.5 }

[[criterion]]
type = "cross_entropy"

[transform]
ROTATION = [20]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]
NORMALIZE = [[0.13], [0.31]]

[dataset]
name = "MNIST"
config = { max_samples = 60 }
split = { train = 0.8, valid = 0.1 }

[train]
batch_size = 16
epoch = 2
optimizer = { type = "adam", learning_rate = 0.01 }
"""
"""60 images with dropout and augmentation: the random draws affect the result."""

SHAPES = """\
output_dir = "runs"
task = "shapes"
device = "cpu"
metrics = ["map"]
postprocess = "detection"
classes = ["circle", "square", "triangle"]

ddp.nproc = 1
private.report = false

[model]
name = "tiny_detector"
config = { n_classes = 3 }

[transform]
HFLIP = [0.5]
PIL_TO_TENSOR = []
CONVERT_IMAGE_DTYPE = ["float32"]

[dataset]
name = "shapes"
config = { n = 20, size = 32 }

[dataset.split]
train = 0.5
valid = 0.25
test = 0.25

[train]
batch_size = 4
epoch = 2
optimizer = { type = "sgd", learning_rate = 0.01, momentum = 0.9 }
"""
"""10 train images, 2 of them in the last micro-batch; 5 valid and 5 test images."""
