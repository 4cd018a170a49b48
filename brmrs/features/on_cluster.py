"""Embedding by the actors of a cluster: the same vectors as in this process.

The vector of a content depends on the model, the processor and the versions of code and libraries,
not on the other contents of a batch. So each actor compares these with those of the main process.
"""

import platform
from collections.abc import Sequence

import numpy as np

from brmrs.config.machines import ExecutionConfig
from brmrs.errors import UserError
from brmrs.features import embeddings, precision
from brmrs.system.cluster import Pool


class Twin:
    """Refuses to work where vectors would have other bytes than in the process that made it.

    Args:
        module: the module that embeds; its code and libraries are compared.
        libraries: further distributions.
    """

    def __init__(self, module: str, libraries: Sequence[str] = ()) -> None:
        self._about = (module, tuple(libraries))
        self._expected = self._found()
        self._machine, self._checked = platform.node(), False

    def check(self) -> None:
        """Compare, once per actor.

        Raises:
            UserError: processor, code or libraries differ.
        """
        if not self._checked and self._found() != self._expected:
            raise UserError(
                f"execution: {platform.node()} has another kind of processor, other code or other "
                f"versions of libraries than {self._machine}, so vectors would differ in their "
                "last bits; use machines of one kind with the same installation"
            )
        self._checked = True

    def _found(self) -> str:
        module, libraries = self._about
        return embeddings.recipe("", {"on": precision.processor()}, module, libraries)


def pool(execution: ExecutionConfig) -> Pool:
    """The actors of a configuration."""
    return Pool(execution.address, execution.workers, execution.cores, execution.gpus)


def in_batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in batches of `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
