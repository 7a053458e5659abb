from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_models():
    yield Component("tinynet", "acme.parts:TinyNet", doc="one hidden layer")
    yield Component("normnet", "acme.parts:NormNet", doc="one hidden layer with BatchNorm")
    yield Component("convnet", "acme.parts:ConvNet", doc="a convolution with BatchNorm")
    yield Component("forgetful", "acme.parts:Forgetful", doc="one hidden layer, and one that is never called")
    yield Component("lazynet", "acme.parts:LazyNet", doc="lazy layers")
    yield Component("sovereign", "acme.parts:Sovereign", doc="computes its own losses")
    yield Component("mute", "acme.parts:Mute", doc="takes targets but returns no losses")
    yield Component("tiny_detector", "acme.parts:tiny_detector", doc="torchvision's RetinaNet on two convolutions")
    yield Component("willful", "acme.parts:Willful", doc="draws its weights from its own generator")
    yield Component("chatty", "acme.parts:Chatty", doc="uses a collective in its forward")
    yield Component("asking", "acme.parts:Asking", doc="requires its number of outputs", draws=())
    yield Component("named", "acme.parts:Named", doc="its number of outputs has another name")
    yield Component("renamed", "acme.parts:Named", doc="the run renames its number of outputs", arguments={"n_classes": "width"})
    yield Component("tired", "acme.parts:Tired", doc="counts its calls")
    yield Component("heads", "acme.heads:Heads", doc="two classes, and points", draws=())
    yield Component("troubled", "acme.parts:Troubled", doc="fails or sleeps in a training step")
    yield Component("pixelnet", "acme.parts:PixelNet", doc="two convolutions, with logits per pixel")


@hookimpl
def ddpkit_criteria():
    yield Component("fragile", "acme.parts:fragile_criterion", doc="cross-entropy that breaks on rank 1")
    yield Component("lopsided", "acme.parts:lopsided", doc="cross-entropy that is not a mean over samples")
    yield Component("deaf", "acme.parts:deaf", doc="cross-entropy without a gradient")
    yield Component("moody", "acme.parts:Moody", doc="cross-entropy that counts its calls")
    yield Component("distance", "acme.heads:distance", doc="mean squared distance", draws=())
    yield Component("first_pixel", "acme.parts:first_pixel", doc="cross-entropy of one pixel")


@hookimpl
def ddpkit_metrics():
    yield Component("offset", "acme.heads:Offset", doc="mean absolute distance", takes="logits", draws=())
    yield Component("counts", "acme.parts:Counts", doc="samples of each class: several numbers")
    yield Component("confidence", "acme.parts:Confidence", doc="mean of the largest probability")


@hookimpl
def ddpkit_datasets():
    yield Component("marks", "acme.heads:Marks", doc="several targets per image")
    yield Component("restless", "acme.parts:Restless", doc="blobs with unseeded noise")
    yield Component("loose", "acme.parts:Loose", doc="targets that are mappings, without a collate function")
    yield Component("blobs", "acme.parts:Blobs", doc="generated images of two classes")
    yield Component("masks", "acme.parts:Masks", doc="generated images with masks of three classes")
