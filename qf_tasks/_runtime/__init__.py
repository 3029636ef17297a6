"""Runs operations: without an event loop (`blocking.py`) or on one (`asyncio.py`)."""
