"""The commands; importing a module of this package registers what it has."""
