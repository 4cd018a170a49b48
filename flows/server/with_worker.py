"""A flow run that a worker started ends with that worker, however the worker ends.

A worker starts each flow run in a session of its own, so a signal to the worker's group does not
reach it. It would go on unseen: nobody could cancel it, and the next run would wait for it.
"""

import os
import signal
import threading
import time

STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # Prefect sets it for the processes it starts
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_TELL = 20.0  # of the crash; a loaded machine takes its time


def end_with_worker() -> None:
    """Watch the worker, if this process is a flow run that one started."""
    if STARTED_BY_WORKER in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(worker: int) -> None:
    while os.getppid() == worker:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)  # Prefect tells the server that the run crashed
    time.sleep(SECONDS_TO_TELL)
    os._exit(1)  # a stage in the middle of its work does not hear signals
