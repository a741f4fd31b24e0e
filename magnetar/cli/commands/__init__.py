"""A module for each command, named as the command, with a function of that name and its ``EXAMPLES`` for the help.

``catalog`` and ``manifest`` have commands below them, and hold an ``app`` instead. A command is about twenty lines: its
parameters, and one call of ``finish(command, display, work, draw)``. What the work needs is imported inside the
function, so that ``--help`` is quick and a command imports only what it uses.
"""
