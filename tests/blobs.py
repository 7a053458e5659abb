"""A small config that tests share."""

BLOBS = """\
output_dir = "runs"
task = "blobs"
device = "cpu"
metrics = ["accuracy"]
postprocess = "classification"
classes = ["left", "right"]

[ddp]
nproc = 1

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
"""A run of a second: 32 samples train, 8 validate, 7 test."""
