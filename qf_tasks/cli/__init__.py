"""The command line: each command parses, makes one call of the public facade, and prints.

It knows the terminal and the public names of the library, and nothing of how they work.
"""
