"""A TCP proxy that delays every answer, as a distant store does.

    delay.py LISTEN_PORT SERVER_PORT SECONDS

Bytes are delayed, not throttled: bytes from the server are passed on SECONDS later, in order, while
more bytes are in flight. A request that waits for its answer takes SECONDS longer.
"""

import asyncio
import sys


async def pass_on(reader, writer, seconds):
    """Passes bytes on, each SECONDS after it came."""
    waiting = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def send():
        while True:
            due, data = await waiting.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    sending = asyncio.create_task(send())
    try:
        while data := await reader.read(1 << 20):
            waiting.put_nowait((loop.time() + seconds, data))
    except ConnectionError:
        pass
    waiting.put_nowait((loop.time() + seconds, b""))
    try:
        await sending
    except ConnectionError:
        pass


async def main(listen_port, server_port, seconds):
    async def accept(client_reader, client_writer):
        reader, writer = await asyncio.open_connection("127.0.0.1", server_port, limit=1 << 20)
        await asyncio.gather(
            pass_on(client_reader, writer, 0), pass_on(reader, client_writer, seconds)
        )

    server = await asyncio.start_server(accept, "127.0.0.1", listen_port, limit=1 << 20)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
