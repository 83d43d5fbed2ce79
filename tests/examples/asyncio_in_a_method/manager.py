"""Methods are plain functions, called in threads. Two ways from there to coroutines."""

import asyncio
import threading

from launcher.serve.manager import Manager, expose, idempotent


class Scanner(Manager):
    """Says which TCP ports of a host are open, all asked at once."""

    @expose
    @idempotent
    def scan(self, context, host, ports):
        """A loop for this call alone: right where coroutines keep nothing between calls."""
        return asyncio.run(scan(host, ports))

    def init_host(self, service):
        """A loop of the worker, in a thread. No loop survives a fork: make it here."""
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="asyncio", daemon=True)
        self.thread.start()

    @expose
    @idempotent
    def scan_in_shared_loop(self, context, host, ports):
        """The worker's loop: right where calls share sessions or connections."""
        return asyncio.run_coroutine_threadsafe(scan(host, ports), self.loop).result()

    def cleanup_host(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def scan(host, ports):
    answers = await asyncio.gather(*(is_open(host, port) for port in ports))
    return [port for port, answer in zip(ports, answers, strict=True) if answer]


async def is_open(host, port):
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # a timeout is one, too
        return False
    writer.close()
    return True
