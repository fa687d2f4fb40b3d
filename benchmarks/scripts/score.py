"""Cheap scoring of a table, on one core: a dot product, the best of three classes, three columns back."""

import numpy as np
import pandas as pd

FEATURES = [f"x{i}" for i in range(7)]
WEIGHTS = np.random.default_rng(5).normal(size=(len(FEATURES), 3))
LABELS = np.array(["low", "middle", "high"], dtype=object)


def run(frame: pd.DataFrame) -> pd.DataFrame:
    """The score of every row, in order."""
    scores = frame[FEATURES].to_numpy() @ WEIGHTS
    best = scores.argmax(axis=1)
    return pd.DataFrame(
        {"id": frame["id"], "label": LABELS[best], "score": scores[np.arange(len(best)), best]}
    )
