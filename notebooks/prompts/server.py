"""A stub of a model behind HTTP: it throttles, fails and hangs now and then. `python server.py [PORT]`"""

import asyncio
import json
import random
import sys

RATE = 500
"""Requests a second; more get 429 with Retry-After."""
draw = random.Random(2)
bucket = {"tokens": 50.0, "filled": 0.0}


def throttled() -> bool:
    now = asyncio.get_running_loop().time()
    passed, bucket["filled"] = now - (bucket["filled"] or now), now
    bucket["tokens"] = min(50.0, bucket["tokens"] + RATE * passed)
    if bucket["tokens"] < 1:
        return True
    bucket["tokens"] -= 1
    return False


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(
            next(
                line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")
            )
        )
        prompt = json.loads(await reader.readexactly(length))["prompt"]
        status, more, text = "200 OK", "", f"The answer to {len(prompt)} signs."
        luck = draw.random()
        if throttled():
            status, more, text = "429 Too Many Requests", "Retry-After: 0.2\r\n", "too many"
        elif luck < 0.002:
            status, text = "500 Internal Server Error", "no"
        elif luck < 0.003:
            await asyncio.sleep(3600)
        await asyncio.sleep(0.05 + 0.05 * luck)
        body = json.dumps({"text": text}).encode()
        writer.write(f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # who has asked is gone
    finally:
        writer.close()


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1000)
    print(f"listening at 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
