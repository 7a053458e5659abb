"""Run folders that are written directly, with all files that the report shows."""

import csv
import json
import math

from PIL import Image, ImageDraw

CLASSES = ("apple", "lemon", "plum", "quince")
CONFIG = """\
task = "fruits"
classes = {classes}
metrics = [{{ type = "accuracy", name = "", on = "", config = {{}} }}]
[model]
name = "resnet18"
[dataset]
name = "image_folder"
[train]
epoch = {epochs}
"""


def write_run(folder, epochs=12, classes=CLASSES, n_layers=4):
    """Write the folder of a finished classification that was resumed once; return it."""
    folder.mkdir(parents=True)
    names = list(classes)
    (folder / "config.toml").write_text(
        CONFIG.format(classes=json.dumps(names, ensure_ascii=False), epochs=epochs), encoding="utf-8"
    )
    write_history(folder, epochs)
    write_test(folder, names)
    best = {
        model: {"column": f"{model}/loss", "lower": True, "value": 0.21, "epoch": max(epochs * 3 // 4, 1)}
        for model in ("valid", "ema")
    }
    times = {"started": "2026-11-29T09:00:00+00:00", "updated": "2026-11-29T10:30:00+00:00"}
    dump(
        folder,
        "summary.json",
        {"task": "fruits", "run_id": folder.name, **times, "epoch": epochs, "epochs": epochs, "step": epochs * 20, "best": best},
    )
    dump(folder, "finished.json", {"epoch": epochs, "step": epochs * 20, "is_over": False})
    dump(
        folder,
        "class_counts.json",
        {
            split: {"samples": n * len(names), "classes": dict.fromkeys(names, n)}
            for split, n in (("train", 200), ("valid", 25), ("test", 50))
        },
    )
    dump(
        folder,
        "config_origins.json",
        [
            {"key": "task", "value": '"fruits"', "origin": "fruits.toml:3:8", "meaning": "Name of the experiment."},
            {"key": "train.epoch", "value": str(epochs), "origin": "--set 1", "meaning": "Number of epochs."},
            {"key": "train.ema_decay", "value": "0.0", "origin": "default", "meaning": "Decay of the EMA per step; 0: no EMA."},
        ],
    )
    dump(
        folder,
        "environment.json",
        {
            "python": "3.11.7",
            "command": ["ddpkit", "run", "my fruits.toml"],
            "packages": {"torch": "2.9.0"},
            "seed": 42,
            "device": "cpu",
            "ranks": 2,
        },
    )
    dump(
        folder,
        "plugins.json",
        {
            "plugins": [{"name": "builtin.models", "distribution": "ddpkit", "version": "0.1.0", "status": "ok", "digest": "0"}],
            "used": [
                {"kind": "model", "name": "builtin/resnet18", "plugin": "builtin.models"},
                {"kind": "postprocess", "name": "builtin/classification", "plugin": "builtin.postprocesses", "gives": "class"},
            ],
        },
    )
    layer = {"type": "Conv2d", "parameters": 36864, "trained": 36864, "output": [1, 64, 7, 7], "flops": 3612672}
    dump(
        folder,
        "model.json",
        {
            "type": "ResNet",
            "parameters": 11175370,
            "trained": 11175370,
            "layers": [{"name": f"layer1.{n}.conv1", **layer} for n in range(n_layers)],
        },
    )
    dump(folder, "skipped_samples.json", [{"sample": "apple/broken.png", "error": "cannot identify image file"}])
    write_events(folder, epochs)
    return folder


def dump(folder, name, value):
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def write_history(folder, epochs):
    """Write the history of a run with an EMA: smooth curves, and a validation only in every second epoch of the EMA."""
    rows = [history_row(epoch, epochs) for epoch in range(1, epochs + 1)]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows(rows)


def history_row(epoch, epochs):
    part = epoch / epochs
    wave = math.sin(epoch * 1.7) * 0.02
    loss = 0.15 + 1.6 * math.exp(-4 * part)
    return {
        "epoch": epoch,
        "step": epoch * 20,
        "learning_rate": 0.003 * (1 + math.cos(math.pi * part)) / 2 + 1e-7,
        "seconds": 7.8 + wave,
        "samples_per_second": 470.0 + 100 * wave,
        "train/loss": loss + wave / 3,
        "train/cross_entropy": loss + wave / 3,
        "valid/loss": loss + 0.1 + 0.15 * part + wave,
        "valid/cross_entropy": loss + 0.1 + 0.15 * part + wave,
        "valid/accuracy": 0.95 - 0.7 * math.exp(-5 * part) + wave,
        "ema/loss": None if epoch % 2 else loss + 0.05,
        "ema/cross_entropy": None if epoch % 2 else loss + 0.05,
        "ema/accuracy": None if epoch % 2 else 0.96 - 0.7 * math.exp(-4 * part),
    }


def write_test(folder, names):
    """Write the results of a test: metrics, a confusion matrix, and pictures of samples."""
    dump(folder, "test_metrics.json", {"loss": 0.2134, "accuracy": 0.9321, "ema/loss": 0.2011, "ema/accuracy": 0.9412})
    dump(
        folder,
        "tested.json",
        {
            "weights": "weights/best.safetensors",
            "epoch": 9,
            "monitor": "valid/loss",
            "n_skipped": 0,
            "ema": {"weights": "weights/ema-best.safetensors", "epoch": 9, "monitor": "ema/loss"},
        },
    )
    counts = [
        [46 if true == predicted else (true * 3 + predicted) % 4 for predicted in range(len(names))] for true in range(len(names))
    ]
    rows = [["true", *names], *([name, *row] for name, row in zip(names, counts, strict=True))]
    scores = [["class", "accuracy", "f1"], *([name, 0.9 + number % 10 / 100, ""] for number, name in enumerate(names))]
    for file, table in (("confusion_matrix.csv", rows), ("test_metrics_per_class.csv", scores)):
        with (folder / file).open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows(table)
    (folder / "test_samples").mkdir()
    samples = [make_sample(folder, names, number) for number in range(8)]
    dump(folder, "test_samples.json", samples)


def make_sample(folder, names, number):
    picture = Image.new("RGB", (96, 72), (40 + 20 * number, 90, 160 - 15 * number))
    ImageDraw.Draw(picture).ellipse((20, 10, 76, 66), fill=(220, 60 + 20 * number, 60))
    picture.save(folder / f"test_samples/{number}.png")
    truth, is_wrong = names[number % len(names)], number < 4
    return {
        "file": f"test_samples/{number}.png",
        "sample": f"{truth}/{number}.png",
        "group": "wrong" if is_wrong else "correct",
        "truth": truth,
        "prediction": f"{names[(number + is_wrong) % len(names)]} {98 - number}%",
        "error": 0.98 - number / 50 if is_wrong else 0.0,
    }


def write_events(folder, epochs):
    events = [
        {"time": "2026-11-29T09:00:00+00:00", "event": "start", "message": "2 ranks on cpu, 1 thread each"},
        {"time": "2026-11-29T09:20:00+00:00", "event": "stop", "message": "saved at step 60", "epoch": epochs // 4, "step": 60},
        {
            "time": "2026-11-29T09:25:00+00:00",
            "event": "resume",
            "message": "from checkpoint step 60",
            "epoch": epochs // 4,
            "step": 60,
        },
        {"time": "2026-11-29T09:26:00+00:00", "event": "warning", "message": "sample apple/broken.png is skipped"},
        {"time": "2026-11-29T10:30:00+00:00", "event": "finish", "message": "", "epoch": epochs, "step": epochs * 20},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
