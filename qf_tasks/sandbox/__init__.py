"""The service on one machine, without an account: checks signatures, keeps state, fails to order.

An island: it imports nothing of the client, and nothing but HTTP connects the two.
"""

try:
    from .sandbox import Sandbox
except ModuleNotFoundError as _missing:
    raise ImportError("the sandbox needs aiohttp: pip install 'qf-tasks[sandbox]'") from _missing

from .behavior import ServerBehavior
from .faults import Fault
from .service import RecordedRequest

__all__ = ["Fault", "RecordedRequest", "Sandbox", "ServerBehavior"]
