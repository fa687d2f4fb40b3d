"""Makes what the iris job reads: 4,000 simulated flowers, and a model.

The flowers are simulated from scikit-learn's 150 real ones; the model is trained on the real ones.
"""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
FLOWERS = 4000


def main() -> None:
    iris = load_iris()
    model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target_names[iris.target])
    (HERE / "iris-model").mkdir(exist_ok=True)
    (HERE / "iris-model" / "model.pkl").write_bytes(pickle.dumps(model))

    random = np.random.default_rng(7)
    parents = random.integers(0, len(iris.data), FLOWERS)
    flowers = pd.DataFrame(
        (iris.data[parents] + random.normal(0, 0.1, (FLOWERS, 4))).round(2), columns=COLUMNS
    )
    flowers.insert(0, "flower", np.arange(1, FLOWERS + 1))
    (HERE / "neural-iris-mltable").mkdir(exist_ok=True)
    flowers.to_csv(HERE / "neural-iris-mltable" / "iris.csv", index=False)
    print(f"wrote {FLOWERS} flowers and a model below {HERE}")


if __name__ == "__main__":
    main()
