"""Command step: one folder for each store and brand, and an MLTable that reads both names from the path."""

import argparse
from pathlib import Path

import pandas as pd

MLTABLE = """\
type: mltable
paths:
  - pattern: ./*/*/sales.csv
transformations:
  - extract_columns_from_partition_format:
      partition_format: "{Store}/{Brand}/sales.csv"
  - read_delimited:
      header: all_files_same_headers
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", type=Path, required=True)
    parser.add_argument("--partitioned", type=Path, required=True)
    arguments = parser.parse_args()

    groups = pd.read_csv(arguments.sales).groupby(["Store", "Brand"])
    for (store, brand), rows in groups:
        folder = arguments.partitioned / str(store) / brand
        folder.mkdir(parents=True)
        rows.drop(columns=["Store", "Brand"]).to_csv(folder / "sales.csv", index=False)
    (arguments.partitioned / "MLTable").write_text(MLTABLE)
    print(f"partitioned {arguments.sales} into {len(groups)} folders")


if __name__ == "__main__":
    main()
