"""``python -m magnetar``."""

from magnetar.cli import main

main()
