"""What goes on beside the calls: exits recorded, stops carried to their end, events told.

Each part is given what it works with when it is built, and is then a part of the `Context` that
the verbs work with. Not here: what a verb does (`verbs`), and making records true after a restart
(`recovery`), which uses verbs.
"""
