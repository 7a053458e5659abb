"""Logger for MLflow."""

import io
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ddpkit import TestResult
from ddpkit_plugins.loggers.hyperparameters import flatten_config
from ddpkit_plugins.loggers.result_images import GROUP, create_result_images, list_captions
from ddpkit_plugins.loggers.scalars import finite_numbers, result_numbers
from ddpkit_plugins.loggers.services import import_service

ENVIRONMENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Variables of MLflow, each set only if the environment does not set it.

ddpkit owns the terminal. Without the limits, MLflow retries a request to a server that does not answer for several minutes.
"""
LONGEST_VALUE = 6000
"""Largest number of characters that MLflow accepts for a parameter."""


class MLflow:
    """Logger that writes a run to MLflow: experiment `task`, named by the run id.

    `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME` and the other variables of MLflow work as usual. Without a URI, the run is
    written to the folder `mlruns` of `output_dir`, which all runs share. A resumed run continues its MLflow run; the id is in the
    file `mlflow/id` of the run folder.

    Args:
        folder: The run folder; passed by the run.
        config: The resolved config; passed by the run.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
        RuntimeError: MLflow rejects the run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        mlflow = import_service("mlflow")
        store = None if mlflow.is_tracking_uri_set() else (folder.parents[1] / "mlruns").as_uri()
        try:
            self._client = mlflow.MlflowClient(tracking_uri=store)
            self._run_id = self._open_run(folder / "mlflow" / "id", config)
            self._last_steps = self._read_last_steps()
            self._log_parameters(config)
        except ValueError as error:  # a ValueError would be reported as a mistake in the config
            raise RuntimeError(str(error)) from error

    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        """Log one row of the history; the step is the epoch. Values that are NaN or infinite are skipped."""
        self._log(finite_numbers(row), int(row["epoch"]))

    def on_test_end(self, result: TestResult) -> None:
        """Log the metrics of the test, and its confusion matrices and samples as artifacts."""
        self._log(result_numbers(result), result.epoch)
        images = create_result_images(result)
        for image in images:
            with Image.open(io.BytesIO(image.png)) as opened:
                self._client.log_image(self._run_id, opened, artifact_file=f"{image.name}.png")
        if images:
            self._client.log_text(self._run_id, list_captions(images), f"{GROUP}/captions.txt")

    def close(self) -> None:
        """Set the state of the MLflow run: `FAILED` if an exception ends the run."""
        self._client.set_terminated(self._run_id, "FAILED" if sys.exc_info()[0] else "FINISHED")

    def _open_run(self, file: Path, config: Mapping[str, Any]) -> str:
        """Return the id of the MLflow run in `file`; if there is none, create a run and store its id."""
        run_id = file.read_text(encoding="utf-8") if file.exists() else ""
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        experiment = self._find_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or config["task"])
        tags = {"task": config["task"], "run_id": config["run_id"]}
        run = self._client.create_run(experiment, tags=tags, run_name=config["run_id"])
        file.parent.mkdir(exist_ok=True)
        file.write_text(run.info.run_id, encoding="utf-8")
        return str(run.info.run_id)

    def _find_experiment(self, name: str) -> str:
        """Return the id of an experiment, which is created if it does not exist."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:  # another run may create it at the same time
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise error from None
        return str(found.experiment_id)

    def _read_last_steps(self) -> dict[str, int]:
        """Return the last step of each metric that was logged before the run was resumed."""
        keys = self._client.get_run(self._run_id).data.metrics
        return {key: max(each.step for each in self._client.get_metric_history(self._run_id, key)) for key in keys}

    def _log_parameters(self, config: Mapping[str, Any]) -> None:
        """Log the config, except the keys that the MLflow run has already: MLflow rejects new values for them."""
        from mlflow.entities import Param  # noqa: PLC0415

        known = self._client.get_run(self._run_id).data.params
        values = {to_key(key): str(value)[:LONGEST_VALUE] for key, value in flatten_config(config).items()}
        self._client.log_batch(self._run_id, params=[Param(key, value) for key, value in values.items() if key not in known])

    def _log(self, values: Mapping[str, float], step: int) -> None:
        """Log values, except those of steps that were logged before the run was resumed: MLflow would keep both."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(1000 * time.time())
        metrics = [Metric(to_key(key), value, now, step) for key, value in values.items()]
        new = [metric for metric in metrics if step > self._last_steps.get(metric.key, -1)]
        self._client.log_batch(self._run_id, metrics=new)


def to_key(name: str) -> str:
    """Return a name with the characters that MLflow accepts."""
    return re.sub(r"[^\w/. -]", "_", name)
