"""A small config of a detection that tests share."""

SHAPES = """\
output_dir = "runs"
task = "shapes"
device = "cpu"
metrics = ["map"]
postprocess = "detection"
classes = ["circle", "square", "triangle"]

[ddp]
nproc = 1

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
"""10 images train, the last micro-batch has 2; 5 validate, 5 test."""
