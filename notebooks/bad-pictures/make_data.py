"""Makes what the job reads: 60 small pictures with a dark dot each, three corrupt and one without a dot."""

import random
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
PICTURES, SIDE = 60, 32
CORRUPT, BLANK = (7, 8, 41), 22


def main() -> None:
    draw = random.Random(1)
    (HERE / "data").mkdir(exist_ok=True)
    for number in range(PICTURES):
        picture = Image.new("L", (SIDE, SIDE), 255)
        if number != BLANK:
            picture.putpixel((draw.randrange(SIDE), draw.randrange(SIDE)), 0)
        file = HERE / "data" / f"{number:03}.png"
        picture.save(file)
        if number in CORRUPT:
            file.write_bytes(file.read_bytes()[:60])  # a download that broke off
    print(f"wrote {PICTURES} pictures below {HERE}")


if __name__ == "__main__":
    main()
