"""The options that several commands have, in groups: one frozen dataclass for each, with a field for each option.

::

    @flag_groups
    def repair(download: DownloadFlags, display: DisplayFlags, path: ...): ...

``flag_groups`` (in ``groups``) gives the command each field as an option, and hands it the filled dataclass. A group is
called ``…Flags``: it holds what was typed. Its method turns that into what the parts take, which is called
``…Options``, ``Machine`` or a request; what does not go together is refused there.
"""
