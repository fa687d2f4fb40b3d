"""Entry script: for each store and brand, how price and advertising move the quantity sold."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd


def init():
    global model_folder
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model_folder", type=Path, required=True)
    arguments, _ = parser.parse_known_args()
    model_folder = arguments.model_folder


def run(mini_batch: pd.DataFrame, mini_batch_context) -> list:
    """Gets all rows of one store and brand; the result is a file, so there are no rows to give back."""
    keys = mini_batch_context.partition_key_value
    features = np.column_stack(
        [np.ones(len(mini_batch)), np.log(mini_batch["Price"]), mini_batch["Advert"].astype(float)]
    )
    weights, *_ = np.linalg.lstsq(features, np.log(mini_batch["Quantity"]), rcond=None)
    model = {
        **keys,
        "rows": len(mini_batch),
        **dict(zip(["level", "price", "advert"], weights.round(4).tolist(), strict=True)),
    }

    path = model_folder / str(keys["Store"]) / f"{keys['Brand']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(model, default=int))
    return []
