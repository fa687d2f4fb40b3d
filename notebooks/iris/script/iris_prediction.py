"""Entry script: names the species of every flower in a mini-batch."""

import argparse
import pickle
from pathlib import Path

import pandas as pd

MEASURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def init():
    """Runs once in each processor: load the model that every mini-batch needs."""
    global model
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model", required=True)
    arguments, _ = parser.parse_known_args()
    model = pickle.loads((Path(arguments.model) / "model.pkl").read_bytes())
    print(f"loaded {type(model).__name__} from {arguments.model}")


def run(mini_batch: pd.DataFrame) -> pd.DataFrame:
    """Runs once for each mini-batch: one row back for each row in."""
    probabilities = model.predict_proba(mini_batch[MEASURES].to_numpy())
    return pd.DataFrame(
        {
            "flower": mini_batch["flower"],
            "species": model.classes_[probabilities.argmax(axis=1)],
            "probability": probabilities.max(axis=1).round(3),
        }
    )


def shutdown():
    """Runs once in each processor at the end."""
    print("done")
