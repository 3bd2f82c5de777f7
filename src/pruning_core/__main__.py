"""``python -m pruning_core``, the same as ``pruning-core``."""

import sys

from pruning_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
