"""Mean average precision of boxes by pycocotools itself, as a reference for metrics."""

import contextlib
import io

import numpy as np


def coco_map(images, found, n_labels):
    """Return the value for targets and predictions in the format of torchvision, labels 1 to `n_labels`; NaN without true boxes."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(coco_of(images, n_labels), coco_of(found, n_labels), iouType="bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[0] if judge.stats[0] >= 0 else np.nan


def coco_of(images, n_labels):
    """Return boxes as a COCO dataset; `iscrowd` and `scores` are used if an image has them."""
    from pycocotools.coco import COCO

    annotations = []
    for number, image in enumerate(images):
        for index, (x, y, right, bottom) in enumerate(image["boxes"].double().tolist()):
            box = {"image_id": number, "category_id": int(image["labels"][index]), "bbox": [x, y, right - x, bottom - y]}
            box |= {"id": len(annotations) + 1, "area": (right - x) * (bottom - y)}
            box |= {"iscrowd": int(image["iscrowd"][index]) if "iscrowd" in image and "scores" not in image else 0}
            annotations.append(box | ({"score": float(image["scores"][index])} if "scores" in image else {}))
    made = COCO()
    made.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": label} for label in range(1, n_labels + 1)],
    }
    made.createIndex()
    return made
