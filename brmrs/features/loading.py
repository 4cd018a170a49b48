"""The lock around loading models.

Stages are threads of one process, and transformers replaces `torch.nn.init` for the whole process
while it loads a model: random weights that are drawn in the meantime are garbage.
"""

import threading

LOADING = threading.RLock()
