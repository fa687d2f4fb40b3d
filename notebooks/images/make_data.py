"""Makes what the images job reads: 100 handwritten digits as PNG files, and a model.

The digits are the last of scikit-learn's; the model is trained on the others.
"""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

HERE = Path(__file__).resolve().parent
PICTURES = 100


def main() -> None:
    digits = load_digits()
    model = SVC(gamma=0.001).fit(digits.data[:-PICTURES], digits.target[:-PICTURES])
    (HERE / "model").mkdir(exist_ok=True)
    (HERE / "model" / "model.pkl").write_bytes(pickle.dumps(model))

    (HERE / "data").mkdir(exist_ok=True)
    for number, image in enumerate(digits.images[-PICTURES:]):
        Image.fromarray((image * 255 / 16).astype(np.uint8)).save(HERE / "data" / f"{number:03}.png")
    print(f"wrote {PICTURES} pictures and a model below {HERE}")


if __name__ == "__main__":
    main()
