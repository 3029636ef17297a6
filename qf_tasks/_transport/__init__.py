"""How a request reaches the service: through the SDK's `call_action`, signed and sent by this library."""
