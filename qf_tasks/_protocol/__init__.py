"""The wire format of the service as pure functions: no I/O, no SDK, no HTTP library."""
