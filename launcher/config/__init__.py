"""The configuration: the options, and the files that set them.

Here: every option, reading, checking. Never: how a running service applies a change; that is in
`supervise/operations/in_force`.
"""
