"""What each method of a client does, written once as `async def` for the blocking and the asyncio client."""
