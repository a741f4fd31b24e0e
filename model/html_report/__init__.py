"""The report of a boot as one self-contained page of HTML.

``page`` puts it together: the verdict first, then what it rests on. ``figures`` draws the curves, the load of the
experts and the routed text; ``style`` is the style sheet. The page runs no script and fetches nothing. Everything
foreign in it is escaped.
"""
