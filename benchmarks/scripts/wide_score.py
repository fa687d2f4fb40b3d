"""Cheap scoring of a wide table: the sum of each row, its gaps left out."""

import numpy as np
import pandas as pd


def run(frame: pd.DataFrame) -> pd.DataFrame:
    """The score of every row, in order."""
    return pd.DataFrame(
        {"id": frame["id"], "label": "sum", "score": np.nansum(frame.iloc[:, 1:].to_numpy(), axis=1)}
    )
