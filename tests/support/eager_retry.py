"""cri-shim that tries unfinished teardowns again ten times a second, not every half a minute.

python -m tests.support.eager_retry cri-shim-arguments...
"""

import sys

from cri_shim import cli
from cri_shim.recovery import retry

if __name__ == "__main__":
    retry.INTERVAL = 0.1
    sys.exit(cli.main(sys.argv[1:]))
