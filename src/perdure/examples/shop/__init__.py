"""A web shop: orders as a durable job behind FastAPI.

Two web processes and one engine run it.

- ``order``: the state machine of an order, pure;
- ``payments``: the payment provider, a service with typed errors;
- ``jobs``: the job, and the app that ``perdure run`` serves;
- ``providers``: stand-ins for the payment provider and the mail server;
- ``web``: the HTTP interface.
"""
