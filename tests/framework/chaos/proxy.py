"""A TCP proxy that delays, narrows, swallows and cuts what goes through it."""

import asyncio
import struct
import threading
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType

from millstream.kafka.local.net import HOST

CHUNK = 16_384


class Proxy:
    """Listens on a loopback port, in a thread of its own, and passes all bytes on as they are.

    Args:
        port: where to listen.
        target: port that it passes to.

    Attributes:
        delay: seconds that every byte takes, each way.
        rate: bytes a second of all connections together, each way; None: as fast as they come.
        hole: whether nothing goes through; the connections stay.
        passed: bytes that went through.
        cut: connections that were reset.
    """

    def __init__(self, port: int, target: int) -> None:
        self.delay = 0.0
        self.rate: float | None = None
        self.hole = False
        self.passed = self.cut = 0
        self._port, self._target = port, target
        self._free = {True: 0.0, False: 0.0}
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")

    def has_passed(self, count: int) -> bool:
        """Return whether more than so many bytes went through."""
        return self.passed > count

    def __enter__(self) -> "Proxy":
        ready = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._serve(ready)))
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._server = await asyncio.start_server(self._connect, HOST, self._port)
        ready.set()

    def _end(self) -> None:
        async def end() -> None:
            self._server.close()
            self._cut()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop.stop()

        self._loop.create_task(end())

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, out = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, out}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, out, up=True))
                group.create_task(self._pass(there, writer, up=False))
        except* (OSError, EOFError):
            pass
        finally:
            for end in (writer, out):
                end.close()
            self._open -= {writer, out}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """Take bytes in, and let them out when their time has come."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def take() -> None:
            while data := await reader.read(CHUNK):
                await line.put((self._loop.time() + self.delay, data))
            await line.put((0.0, b""))

        async def give() -> None:
            while True:
                due, data = await line.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if self.rate is not None:
                    free = self._free[up] = max(self._loop.time(), self._free[up]) + len(data) / self.rate
                    await asyncio.sleep(free - self._loop.time())
                while self.hole:  # noqa: ASYNC110 (it is set from another thread)
                    await asyncio.sleep(0.05)
                if not data:
                    raise EOFError
                writer.write(data)
                await writer.drain()
                self.passed += len(data)

        async with asyncio.TaskGroup() as group:
            group.create_task(take())
            group.create_task(give())

    def reset(self) -> None:
        """Cut all connections with a reset."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            if (connection := writer.get_extra_info("socket")) is not None and not writer.is_closing():
                connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                self.cut += 1
