"""Event streams that come and go, for soak.sh: python3 streams.py HOST:PORT DIR COUNT

Keeps COUNT streams open at a time, each for 1 to 15 seconds: nine of ten of a product's stock, the others of a buyer.
DIR has the files of soak.lua; the products are read again for each stream, because they change during the run.
"""

import asyncio
import contextlib
import pathlib
import random
import sys

host, port = sys.argv[1].rsplit(":", 1)
folder = pathlib.Path(sys.argv[2])
tokens = (folder / "tokens").read_text().split()


def request():
    if random.random() < 0.1:
        return "/me/events", f"Authorization: Bearer {random.choice(tokens)}\r\n"
    products = (folder / random.choice(["hot", "held"])).read_text().split()
    return f"/products/{random.choice(products)}/events", ""


async def stream():
    path, headers = request()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            print(path, status.decode().strip(), flush=True)
        async with asyncio.timeout(random.uniform(1, 15)):
            while await reader.read(65536):
                pass
    finally:
        writer.close()


async def streams():
    while True:
        with contextlib.suppress(OSError, TimeoutError, IndexError):
            await stream()
        await asyncio.sleep(0.05)


async def main():
    await asyncio.gather(*(streams() for _ in range(int(sys.argv[3]))))


asyncio.run(main())
