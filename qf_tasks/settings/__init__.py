"""Where keys and limits come from.

`settings.py` has the settings themselves, `precedence.py` says which source wins, `sources.py` reads each of
them, `files.py` finds and parses the files, `rules.py` checks single values, and `inspection.py` tells what
was found.
"""

from qf_tasks.models import Account
from qf_tasks.settings.inspection import SourceReport, inspect_sources
from qf_tasks.settings.precedence import Keywords
from qf_tasks.settings.rules import is_loopback
from qf_tasks.settings.settings import Settings

__all__ = ["Account", "Keywords", "Settings", "SourceReport", "inspect_sources", "is_loopback"]
