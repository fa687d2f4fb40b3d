"""The environment variables of Azure ML that public scripts read, as far as they are of use here."""

from __future__ import annotations

import os
from collections.abc import Mapping


def azure_variables(*, run_id: str, step: str, folder: str, logs: str) -> Mapping[str, str]:
    """Name -> value for the scripts of a step; what is set already stays.

    `folder` is the step's in the run directory, `logs` the folder of its logs. Those that lead to a workspace
    (AZUREML_ARM_…) are not among them, so that `Run.get_context()` is an offline run that does no harm.
    """
    host = os.uname().nodename
    return {
        "AZUREML_RUN_ID": f"{run_id}-{step}",
        "AZUREML_ROOT_RUN_ID": run_id,
        # MLflow writes into the run directory. Recent versions do so only where asked to.
        "MLFLOW_TRACKING_URI": f"file://{mlflow_folder(folder)}",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "AZ_BATCHAI_WORKER_IP": host,
        "AZ_BATCHAI_JOB_MASTER_NODE_IP": host,
        "AZ_BATCH_NODE_LIST": host,
        "AZ_BATCHAI_OUTPUT_logs": logs,
        "AZ_BATCHAI_INPUT_AZUREML": folder,
    }


def mlflow_folder(folder: str) -> str:
    """Where MLflow keeps what the scripts of a step log; `folder` as of `azure_variables`."""
    return f"{folder}/mlruns"
