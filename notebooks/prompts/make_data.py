"""Makes what the job reads: a table of 2,000 prompts."""

import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROMPTS = 2000
ANIMALS = ("badger", "crane", "heron", "ibex", "lynx", "marmot", "otter", "seal", "toad", "wren")


def main() -> None:
    draw = random.Random(1)
    (HERE / "data").mkdir(exist_ok=True)
    lines = (
        json.dumps({"id": number, "prompt": f"Where does the {draw.choice(ANIMALS)} number {number} live?"})
        for number in range(PROMPTS)
    )
    (HERE / "data" / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    table = {
        "type": "mltable",
        "paths": [{"file": "./prompts.jsonl"}],
        "transformations": ["read_json_lines"],
    }
    (HERE / "data" / "MLTable").write_text(json.dumps(table, indent=2) + "\n")
    print(f"wrote {PROMPTS} prompts below {HERE}")


if __name__ == "__main__":
    main()
