"""Programs with Azure ML's SDK (azure-ai-ml) as its public examples have them; their jobs are test data in `sdk_dumps`.

python tests/jobspec/sdk_programs.py        makes `sdk_dumps` anew, with the package that is installed
python tests/jobspec/sdk_programs.py -      prints them as JSON
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "@FOLDER@"
"""Stands for the folder in which a program ran."""
DUMPS = Path(__file__).parent / "sdk_dumps"
FILES = {
    "src/score.py": "import os\ndef run(mini_batch):\n    return [os.path.basename(str(each)) for each in mini_batch]\n",
    "src/prep.py": "import shutil, sys\nshutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)\n",
    "data/a.txt": "a\n",
    "data/b.txt": "b\n",
    "table/rows.csv": "store,price\n1,2.5\n2,3.5\n1,4.5\n",
    "table/MLTable": "type: mltable\npaths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited\n",
    "prep.yml": """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: prep
version: 1
type: command
inputs:
  raw: {type: uri_folder}
  fraction: {type: number, default: 0.5, optional: true}
  verbose: {type: boolean, default: false}
outputs:
  clean: {type: uri_folder}
code: ./src
environment: azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest
command: python prep.py ${{inputs.raw}} ${{outputs.clean}} ${{inputs.verbose}} $[[--fraction ${{inputs.fraction}}]]
""",
    "jobs/job.yml": """\
type: pipeline
inputs: {raw: {type: uri_folder, path: ../data}}
jobs:
  clean: {type: command, component: ../prep.yml, inputs: {raw: "${{parent.inputs.raw}}"}}
""",
}


def write_files(folder: Path) -> None:
    """What the programs name."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def environment() -> Any:
    from azure.ai.ml.entities import Environment

    conda = {"name": "scoring", "channels": ["conda-forge"], "dependencies": ["python=3.8", "pip"]}
    return Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04", conda_file=conda)


def file_step() -> Any:
    """Scoring of files, as in the article's Python tab."""
    from azure.ai.ml import Input, Output
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.parallel import RunFunction, parallel_run_function

    return parallel_run_function(
        name="file_batch_score",
        display_name="Batch Score with File Dataset",
        description="parallel component for batch score",
        inputs={
            "job_data_path": Input(type=AssetTypes.URI_FOLDER, description="The data to be split"),
            "threshold": Input(type="number", default=0.5, optional=True),
        },
        outputs={"job_output_path": Output(type=AssetTypes.URI_FILE)},
        input_data="${{inputs.job_data_path}}",
        instance_count=1,
        max_concurrency_per_instance=1,
        mini_batch_size="1",
        mini_batch_error_threshold=1,
        retry_settings={"max_retries": 2, "timeout": 60},
        logging_level="DEBUG",
        environment_variables={"LEVEL": "1"},
        task=RunFunction(
            code="./src",
            entry_script="score.py",
            program_arguments="--out ${{outputs.job_output_path}} $[[--threshold ${{inputs.threshold}}]]",
            environment=environment(),
            append_row_to="${{outputs.job_output_path}}",
        ),
    )


def table_step() -> Any:
    """One mini-batch for each store."""
    from azure.ai.ml import Input, Output
    from azure.ai.ml.constants import AssetTypes, InputOutputModes
    from azure.ai.ml.parallel import RunFunction, parallel_run_function

    return parallel_run_function(
        name="by_store",
        inputs={"sales": Input(type=AssetTypes.MLTABLE, mode=InputOutputModes.DIRECT)},
        outputs={"rows": Output(type=AssetTypes.URI_FILE, mode="rw_mount")},
        input_data="${{inputs.sales}}",
        partition_keys=["store"],
        error_threshold=-1,
        task=RunFunction(
            code="./src",
            entry_script="score.py",
            environment="azureml:scoring:1",
            append_row_to="${{outputs.rows}}",
        ),
    )


def show_step() -> Any:
    from azure.ai.ml import Input, command

    return command(
        name="show",
        inputs={"rows": Input(type="uri_file"), "loud": True, "times": 2, "title": "all rows"},
        command='cat ${{inputs.rows}} && echo "${{inputs.title}}" ${{inputs.loud}} ${{inputs.times}}',
        environment="azureml:scoring:1",
        environment_variables={"LEVEL": "2"},
    )


def chained() -> Any:
    """A loaded component, two parallel steps and a command, with outputs of the pipeline."""
    from azure.ai.ml import Input, dsl, load_component

    prep, score, stores, show = load_component("./prep.yml"), file_step(), table_step(), show_step()

    @dsl.pipeline(name="chained", default_compute="cpu-cluster", description="prepares, scores, shows")
    def pipeline(raw, sales):
        cleaned = prep(raw=raw, verbose=True)
        scored = score(job_data_path=cleaned.outputs.clean)
        scored.outputs.job_output_path.mode = "mount"
        by_store = stores(sales=sales)
        show(rows=scored.outputs.job_output_path)
        return {"scores": scored.outputs.job_output_path, "stores": by_store.outputs.rows}

    job = pipeline(
        raw=Input(path="./data", type="uri_folder", mode="ro_mount"),
        sales=Input(path="./table", type="mltable", mode="direct"),
    )
    job.outputs.scores.type = "uri_file"
    job.settings.continue_on_step_failure = False
    return job


def nothing_given() -> Any:
    """Inputs that are `None`, booleans of the pipeline, a compute for one node."""
    from azure.ai.ml import Input, dsl

    score, show = file_step(), show_step()

    @dsl.pipeline()
    def options(data: Input(type="uri_folder"), threshold: float = None, loud: bool = True, title: str = "x"):  # noqa: RUF013
        scored = score(job_data_path=data, threshold=threshold)
        scored.compute = "gpu-cluster"
        show(rows=scored.outputs.job_output_path, loud=loud, title=title)

    return options(data=Input(path="./data", type="uri_folder"), loud=False)


def node() -> Any:
    """A step outside of any pipeline, with what it reads and writes."""
    from azure.ai.ml import Input, Output

    alone = file_step()(job_data_path=Input(path="./data", type="uri_folder"), threshold=0.25)
    alone.outputs.job_output_path = Output(path="./scores.txt", type="uri_file")
    return alone


def builder() -> Any:
    """What `parallel_run_function` returns."""
    return file_step()


def component() -> Any:
    """A component of a file; its required input is left to `inputs=`."""
    from azure.ai.ml import load_component

    return load_component("./prep.yml")


def loaded() -> Any:
    """A job of a file in another folder."""
    from azure.ai.ml import load_job

    return load_job("./jobs/job.yml")


def nested() -> Any:
    """A pipeline in a pipeline."""
    from azure.ai.ml import Input, dsl

    score, show = file_step(), show_step()

    @dsl.pipeline()
    def inner(data, loud: bool):
        scored = score(job_data_path=data)
        show(rows=scored.outputs.job_output_path, loud=loud)
        return {"scores": scored.outputs.job_output_path}

    @dsl.pipeline()
    def outer(data):
        inner(data=data, loud=True)

    return outer(data=Input(path="./data", type="uri_folder"))


PROGRAMS: tuple[Callable[[], Any], ...] = (
    chained,
    nothing_given,
    node,
    builder,
    component,
    loaded,
    nested,
)


def dumps() -> dict[str, dict[str, Any]]:
    """Program -> class of its object, where paths in it start, what it says; run in a folder of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        write_files(Path(place))
        for program in PROGRAMS:
            made = program()
            value = {
                "class": f"{type(made).__module__}.{type(made).__name__}",
                "base": os.path.relpath(made._base_path),
                "says": json.loads(json.dumps(made._to_dict())),
            }
            found[program.__name__] = json.loads(json.dumps(value).replace(place, FOLDER))
        os.chdir("/")
    return found


if __name__ == "__main__":
    made = dumps()
    if sys.argv[1:] == ["-"]:
        print(json.dumps(made))
    else:
        for name, value in made.items():
            (DUMPS / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
