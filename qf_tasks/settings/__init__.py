"""Where credentials and limits come from.

`settings.py` has the settings themselves and `keywords.py` the arguments of a call. `sources.py` reads each
source (`variables.py` the environment and `.env`, `files.py` the files), `precedence.py` decides which one
counts, `validators.py` checks single values, and `inspection.py` reports what was found.
"""

from qf_tasks.models import Account
from qf_tasks.settings.inspection import SourceReport, inspect_sources
from qf_tasks.settings.keywords import Keywords, hide
from qf_tasks.settings.settings import Settings
from qf_tasks.settings.validators import is_loopback

__all__ = ["Account", "Keywords", "Settings", "SourceReport", "hide", "inspect_sources", "is_loopback"]
