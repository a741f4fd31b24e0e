"""``magnetar``, and ``python -m magnetar``."""

import gc

gc.disable()  # until there is work: importing makes much and drops little, and looking for that costs a tenth

from magnetar.cli.app import main  # noqa: E402  # importing is what there is to save

if __name__ == "__main__":
    main()
