"""Makes what the many-models job reads: 100 weeks of invented sales of 4 brands in 20 stores, unordered."""

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
STORES = range(1000, 1020)
BRANDS = {"sunny": 2.4, "grove": 2.0, "valley": 1.6, "orchard": 2.9}
WEEKS = pd.date_range("2023-01-05", periods=100, freq="7D")


def main() -> None:
    random = np.random.default_rng(11)
    pairs = [sales_of(store, brand, random) for store in STORES for brand in BRANDS]
    sales = pd.concat(pairs).sample(frac=1, random_state=11)
    (HERE / "data").mkdir(exist_ok=True)
    sales.to_csv(HERE / "data" / "sales.csv", index=False)
    print(f"wrote {len(sales)} rows of {len(pairs)} store and brand pairs to {HERE / 'data' / 'sales.csv'}")


def sales_of(store: int, brand: str, random: np.random.Generator) -> pd.DataFrame:
    """Weekly sales of one brand in one store: fewer where it is dear, more where it is advertised."""
    price = (BRANDS[brand] * random.uniform(0.8, 1.2, len(WEEKS))).round(2)
    advert = random.integers(0, 2, len(WEEKS))
    quantity = np.exp(
        random.uniform(8, 10) - 1.5 * np.log(price) + 0.4 * advert + random.normal(0, 0.1, len(WEEKS))
    )
    return pd.DataFrame(
        {
            "WeekStarting": WEEKS,
            "Store": store,
            "Brand": brand,
            "Quantity": quantity.round().astype(int),
            "Advert": advert,
            "Price": price,
        }
    )


if __name__ == "__main__":
    main()
