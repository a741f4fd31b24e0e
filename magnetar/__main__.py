"""The entry of ``magnetar`` and of ``python -m magnetar``."""

import gc

gc.disable()  # while modules are imported: collecting then costs a tenth of the start, and finds nothing

from magnetar.cli.app import main  # noqa: E402  # after gc.disable(), which is for this import

if __name__ == "__main__":
    main()
