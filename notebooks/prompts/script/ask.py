"""Asks a model behind HTTP, many prompts at a time; for `post`, take a client library."""

import asyncio
import json
import os


class Throttled(Exception):
    """429 or 503; daskpar tries the mini-batch again after `retry_after` seconds, and charges no try."""

    def __init__(self, retry_after):
        super().__init__(f"throttled for {retry_after} s")
        self.retry_after = retry_after


async def init():
    global host, port
    host, _, port = os.environ.get("MODEL_AT", "127.0.0.1:8765").partition(":")


async def run(mini_batch, mini_batch_context):
    async def ask(prompt):
        await mini_batch_context.rate_limit.acquire()
        return (await post({"prompt": prompt}))["text"]

    answers = await asyncio.gather(*map(ask, mini_batch["prompt"]))
    return mini_batch.assign(answer=answers)


async def post(question):
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        body = json.dumps(question).encode()
        writer.write(b"POST / HTTP/1.1\r\nHost: model\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        answer = json.loads(await reader.readexactly(int(headers["content-length"])))
    finally:
        writer.close()
    if "retry-after" in headers:
        raise Throttled(headers["retry-after"])
    if " 200 " not in status:
        raise RuntimeError(f"the model says {status}: {answer}")
    return answer
