"""What each command prints with ``--json``: a module for each, named as the command, with the shapes of its results."""
