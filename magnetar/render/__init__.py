"""What the user sees: results on stdout, progress and errors on stderr, as text or as JSON.

::

    screen.run(work, draw)
        with progress.watch(...) as emit: result = work(emit)   progress: bars, lines, or JSON for each event
        print draw(result)                                      commands: a module for each, named as the command
        or print answer(command, exit_code, result)             json_shapes: with --json

``text`` has the words, tables and verdicts that all drawings are made of. Foreign text passes through ``clean`` there,
so that no name of a file can write to the terminal.
"""
