"""lnd's gRPC services, each in a room of its own.

A service is a plain class with one coroutine, or asynchronous generator, for each method
that it answers: the method's name in snake case, the request in, the answer or the stream
of messages out. It raises RpcError to refuse. `serving` finds the methods by the proto's
own descriptor; what a class leaves out is UNIMPLEMENTED to its callers.
"""
