"""The command line. It knows Typer, the options and the exit codes, and no work: each command calls one function.

::

    app.main(words)
        import the module of the command that was named, and only that          commands/
        defaults come from config.toml, then the environment, then the flags    config
        the command fills its groups of options                                 options/
        screen.run(work, draw)      work: a function of magnetar.pipeline; draw: one of magnetar.render
        exit_code_of(result)        from the outcome of the result              exit_codes

``several_processes`` is for a boot that ``torchrun`` started as several processes.
"""
