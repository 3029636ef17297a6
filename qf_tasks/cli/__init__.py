"""The command line: each command parses, makes one call of the public client, and prints.

It knows the terminal and the client's public names, and nothing of how they do it.
"""
