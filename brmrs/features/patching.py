"""The lock around what patches torch for the whole process.

Stages are threads of one process. While torch.fx traces a backbone it replaces `Module.__call__`,
and while transformers loads a model it replaces `torch.nn.init`: a text that is embedded in the
meantime fails, and random weights that are drawn in the meantime are garbage.
"""

import threading

PATCHING = threading.RLock()
