"""The effect of each transform on small images, masks and class indices."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.tv_tensors import BoundingBoxes, Mask

from ddpkit.config.component_refs import transform_reference
from ddpkit.config.converter import structure
from ddpkit.config.parameters import Parameters
from ddpkit.plugins import manager
from ddpkit.plugins.signatures import import_target, read_from_source
from ddpkit_plugins import transforms
from ddpkit_plugins.transforms import (
    aug_mix,
    center_crop,
    color_jitter,
    convert_image_dtype,
    crop,
    gaussian_blur,
    gray_scale,
    hflip,
    invert,
    normalize,
    pil_to_tensor,
    resize,
    rotation,
    to_tensor,
    vflip,
)

COMPONENTS = {component.name: component for component in transforms.ddpkit_transforms()}
PICTURE = torch.arange(3 * 6 * 8, dtype=torch.uint8).reshape(3, 6, 8)
MASK = Mask(torch.tensor([[0, 1, 5, 5]] * 4))


def pil(tensor):
    """A uint8 tensor [3, H, W] as a PIL image."""
    return Image.fromarray(tensor.permute(1, 2, 0).contiguous().numpy())


def build_from_toml(name, values):
    """The transform of a key and its list, created as in a run."""
    reference = transform_reference(name, values)
    parameters = Parameters("transform", COMPONENTS[name], read_from_source(COMPONENTS[name].target))
    params = {key: structure(value, parameters.settable[key]) for key, value in reference.named_params(parameters).items()}
    assert not [issue for _, issues in params.values() for issue in issues]
    return import_target(COMPONENTS[name].target)(**{key: value for key, (value, _) in params.items()})


@pytest.mark.parametrize(
    ("name", "values"),
    [("RESIZE", [5, 7]), ("RESIZE", []), ("CROP", [5, 7]), ("CROP", []), ("CENTER_CROP", [5, 7]), ("CENTER_CROP", []),
     ("HFLIP", [0.5]), ("HFLIP", []), ("VFLIP", [0.1]), ("VFLIP", []), ("ROTATION", [10]), ("INVERT", [0.5]), ("INVERT", []),
     ("COLOR_JITTER", [0.1, 0.2, 0.3, 0.1]), ("COLOR_JITTER", []), ("GAUSSIAN_BLUR", [5, [0.1, 1]]), ("GAUSSIAN_BLUR", []),
     ("GRAY_SCALE", [3]), ("GRAY_SCALE", []), ("AUG_MIX", [2, 4]), ("AUG_MIX", []), ("TO_TENSOR", []), ("PIL_TO_TENSOR", [])],
)  # fmt: skip
def test_each_transform_takes_its_toml_list_and_keeps_class_indices(name, values):
    image, target = build_from_toml(name, values)(pil(PICTURE), 3)

    assert target == 3
    assert isinstance(image, torch.Tensor if COMPONENTS[name].image_type == "tensor" else Image.Image)


@pytest.mark.parametrize("name", ["RESIZE", "CROP", "CENTER_CROP"])
@pytest.mark.parametrize(("values", "size"), [([5, 7], (7, 5)), ([9], (9, 9)), ([], (224, 224))])
def test_a_size_is_height_and_width_or_a_square(name, values, size):
    image, _ = build_from_toml(name, values)(pil(PICTURE), 3)

    assert image.size == size


def test_only_augmentations_are_train_only():
    augmentation = {"CROP", "HFLIP", "VFLIP", "ROTATION", "INVERT", "COLOR_JITTER", "GAUSSIAN_BLUR", "AUG_MIX"}

    assert {name for name, component in COMPONENTS.items() if component.train_only} == augmentation
    assert {name for name, component in COMPONENTS.items() if component.batchable} == {"CONVERT_IMAGE_DTYPE", "NORMALIZE"}


def test_image_and_target_are_transformed_together():
    image, target = pil_to_tensor()(*rotation(90)(Image.new("L", (6, 4), 255), 3))

    assert (image.dtype, image.shape, target) == (torch.uint8, (1, 4, 6), 3)


@pytest.mark.parametrize(("flip", "axis"), [(hflip, 1), (vflip, 0)])
def test_a_mask_is_flipped_with_its_image(flip, axis):
    drawn = torch.arange(48).reshape(6, 8)
    image, mask = flip(1.0)(drawn.to(torch.uint8)[None], Mask(drawn))

    assert torch.equal(mask, drawn.flip(axis))
    assert torch.equal(image[0], mask.to(torch.uint8))
    assert torch.equal(flip(0.0)(drawn, Mask(drawn))[1], drawn)


@pytest.mark.parametrize("window", [crop(3, 4), center_crop(3, 4), crop(9, 20), center_crop(9, 20)])
def test_a_mask_is_cropped_with_its_image_and_zero_padded(window):
    drawn = torch.arange(1, 49).reshape(6, 8)

    image, mask = window(drawn.to(torch.uint8)[None], Mask(drawn))

    assert image.shape[1:] == mask.shape
    assert torch.equal(image[0], mask.to(torch.uint8))
    assert (mask.numel() - mask.count_nonzero()) == max(mask.numel() - 48, 0)


def test_crop_positions_are_random():
    torch.manual_seed(0)
    corners = {crop(2)(pil(PICTURE)).getpixel((0, 0)) for _ in range(40)}

    assert len(corners) > 10


def test_masks_are_resized_without_interpolated_values():
    image, mask = resize(2, 8)(Image.linear_gradient("L"), MASK)
    wide, _ = resize(4, 8)(MASK.to(torch.uint8)[None], 0)

    assert (image.size, type(mask), mask.dtype) == ((8, 2), Mask, torch.int64)
    assert mask.tolist() == [[0, 0, 1, 1, 5, 5, 5, 5]] * 2
    assert set(wide.unique().tolist()) - {0, 1, 5}


def test_downscaling_is_antialiased():
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(8, 32)[None]

    shrunk = resize(8, 8)(stripes)

    assert (shrunk[..., 1:-1].float() - 127.5).abs().max() < 20


def test_rotation_by_up_to_zero_degrees_changes_nothing():
    image = Image.linear_gradient("L")

    assert rotation(0)(image).tobytes() == image.tobytes()
    assert rotation(30)(image).tobytes() != image.tobytes()


@pytest.mark.parametrize("transform", [invert(1.0), color_jitter(), gaussian_blur(), gray_scale(), normalize([1.0], [0.5])])
def test_colour_transforms_do_not_change_masks(transform):
    image, mask = transform(torch.rand(3, 4, 4), MASK)

    assert type(mask) is Mask
    assert torch.equal(mask, MASK)
    assert image.shape[1:] == (4, 4)


def test_invert_gives_the_negative():
    assert torch.equal(invert(1.0)(PICTURE), 255 - PICTURE)
    assert torch.equal(invert(0.0)(PICTURE), PICTURE)


def test_color_jitter_draws_a_brightness_factor():
    torch.manual_seed(0)
    grey = torch.full((3, 2, 2), 0.5)
    drawn = [color_jitter(0.4, 0.0, 0.0, 0.0)(grey)[0, 0, 0].item() for _ in range(50)]

    assert 0.5 * 0.6 <= min(drawn) < 0.4
    assert 0.6 < max(drawn) <= 0.5 * 1.4
    assert torch.equal(color_jitter(0.0, 0.0, 0.0, 0.0)(grey), grey)


def test_gaussian_blur_applies_the_gaussian_kernel():
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1
    weights = torch.exp(-0.5 * (torch.arange(-1.0, 2.0) / 0.8) ** 2)
    weights = weights / weights.sum()

    blurred = gaussian_blur(3, (0.8, 0.8))(point)

    torch.testing.assert_close(blurred[0, 1:4, 1:4], weights[:, None] * weights)


def test_gray_scale_weights_the_rgb_channels():
    colours = torch.rand(3, 2, 2)
    wanted = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2]

    torch.testing.assert_close(gray_scale()(colours)[0], wanted, atol=2e-4, rtol=0)
    assert gray_scale(3)(colours).shape == (3, 2, 2)
    assert gray_scale()(pil(PICTURE)).mode == "L"
    assert gray_scale(3)(Image.new("L", (2, 2))).mode == "RGB"


@pytest.mark.parametrize("image", [pil(PICTURE), Image.linear_gradient("L"), PICTURE, PICTURE[:1]])
def test_aug_mix_changes_values_but_not_size_or_type(image):
    torch.manual_seed(3)
    mixed, target = aug_mix()(image, 1)

    before, after = [pil_to_tensor()(each) for each in (image, mixed)]
    assert (type(mixed), target) == (Image.Image if isinstance(image, Image.Image) else torch.Tensor, 1)
    assert (after.dtype, after.shape) == (torch.uint8, before.shape)
    assert not torch.equal(after, before)


@pytest.mark.parametrize(
    "target", [Mask(torch.zeros(40, 40)), {"boxes": BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=(40, 40))}]
)
def test_aug_mix_is_not_geometric_with_masks_or_boxes(target):
    torch.manual_seed(0)
    image = Image.new("L", (40, 40), 60)
    image.paste(190, (10, 10, 30, 30))
    mix = aug_mix(10)

    for _ in range(50):
        mixed, same = mix(image, target)
        values = pil_to_tensor()(mixed)[0]
        assert same is target
        assert len(values[14:26, 14:26].unique()) == len(values[:6].unique()) == 1  # SHARPNESS reaches a pixel further each time


def test_pil_images_become_uint8_or_float_tensors():
    image, mask = pil_to_tensor()(pil(PICTURE), MASK)
    floats, same = to_tensor()(pil(PICTURE), MASK)

    assert torch.equal(image, PICTURE)
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats, PICTURE / 255)
    assert mask is same is MASK


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bit_grayscale_keeps_its_values(dtype):
    deep = Image.fromarray(np.array([[0, 257, 25700, 65535]], dtype=dtype))

    tensor, _ = pil_to_tensor()(deep, 3)

    assert (tensor.dtype, tensor.tolist()) == (torch.uint16, [[[0, 257, 25700, 65535]]])
    for floats in (convert_image_dtype()(tensor), to_tensor()(deep)):
        torch.testing.assert_close(floats, torch.tensor([[[0, 1 / 255, 100 / 255, 1]]]))
    with pytest.raises(ValueError, match=r"GRAY_SCALE requires 8 bits per channel, but an image has mode I"):
        gray_scale()(deep, 3)


def test_values_beyond_16_bits_are_rejected():
    with pytest.raises(ValueError, match="contains grayscale values from 0 to 65536; they must be between 0 and 65535"):
        pil_to_tensor()(Image.fromarray(np.array([[0, 65536]], dtype=np.int32)))


def test_dtype_conversion_keeps_masks_and_class_indices():
    image, mask = convert_image_dtype()(PICTURE, MASK)

    assert (image.dtype, convert_image_dtype("float64")(PICTURE, 7)[1]) == (torch.float32, 7)
    assert mask is MASK


def test_a_batch_is_converted_and_normalised():
    batch = convert_image_dtype("float32")(torch.tensor([[[[0, 255]]], [[[51, 102]]]], dtype=torch.uint8))

    torch.testing.assert_close(batch.flatten(), torch.tensor([0.0, 1.0, 0.2, 0.4]))
    torch.testing.assert_close(normalize([0.2], [0.4])(batch).flatten(), torch.tensor([-0.5, 2.0, 0.0, 0.5]))


def test_normalize_takes_one_mean_or_one_per_channel():
    images = torch.rand(2, 3, 4, 4)
    mean, std = [0.1, 0.2, 0.3], [0.5, 1.0, 2.0]
    wanted = torch.stack([(images[:, channel] - mean[channel]) / std[channel] for channel in range(3)], dim=1)

    torch.testing.assert_close(normalize(mean, std)(images), wanted)
    torch.testing.assert_close(normalize([0.1], [0.5])(images), (images - 0.1) / 0.5)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 1, 4, 4), (2, 4, 4, 4)])
def test_normalize_rejects_a_channel_mismatch(shape):
    with pytest.raises(ValueError, match=f"NORMALIZE has 3 means, but the images have {shape[-3]} channels"):
        normalize([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])(torch.rand(shape))


@pytest.mark.parametrize(
    ("make", "params"),
    [(resize, {"height": 0}), (crop, {"width": 0}), (center_crop, {"height": -1}), (hflip, {"p": 1.1}), (vflip, {"p": -0.1}),
     (rotation, {"degrees": -1.0}), (invert, {"p": 2.0}), (color_jitter, {"hue": 0.6}), (color_jitter, {"contrast": -0.1}),
     (gaussian_blur, {"kernel_size": 4}), (gaussian_blur, {"sigma": (2.0, 1.0)}), (gray_scale, {"n_channels": 2}),
     (aug_mix, {"severity": 11}), (aug_mix, {"mixture_width": 0}), (normalize, {"mean": [0.5], "std": [0.0]}),
     (normalize, {"mean": [0.5], "std": [1.0, 1.0]}), (normalize, {"mean": [], "std": []})],
)  # fmt: skip
def test_invalid_parameters_are_rejected(make, params):
    with pytest.raises(ValueError, match=r"got"):
        make(**params)


def test_declaring_transforms_and_datasets_imports_no_torch():
    script = """
import sys
import ddpkit_plugins.datasets, ddpkit_plugins.transforms
list(ddpkit_plugins.datasets.ddpkit_datasets()), list(ddpkit_plugins.transforms.ddpkit_transforms())
assert not {"torch", "torchvision", "PIL"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_specified_transform_exists():
    assert manager.load().registry.names("transform") >= {
        *("RESIZE", "CROP", "CENTER_CROP", "HFLIP", "VFLIP", "ROTATION", "INVERT", "COLOR_JITTER", "GAUSSIAN_BLUR"),
        *("GRAY_SCALE", "AUG_MIX", "TO_TENSOR", "PIL_TO_TENSOR", "CONVERT_IMAGE_DTYPE", "NORMALIZE"),
    }
