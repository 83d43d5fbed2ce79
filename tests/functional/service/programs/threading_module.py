"""A module that starts a thread when it is imported."""

import threading

EVENT = threading.Event()
THREAD = threading.Thread(target=EVENT.wait, name="of-a-module", daemon=True)
THREAD.start()
