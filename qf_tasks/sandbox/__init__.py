"""A local server that behaves like the service: it checks signatures, keeps tasks, and injects faults.

The package is isolated: it shares no code with the client, the two meet over HTTP.
"""

try:
    from .sandbox import Sandbox
except ModuleNotFoundError as _missing:
    raise ImportError("the sandbox needs aiohttp: install qf-tasks with its extra 'sandbox'") from _missing

from .behavior import ServerBehavior
from .faults import Fault, InjectedFault
from .service import RecordedRequest

__all__ = ["Fault", "InjectedFault", "RecordedRequest", "Sandbox", "ServerBehavior"]
