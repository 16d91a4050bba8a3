"""A web shop: orders as a durable job behind FastAPI.

Two web processes and one engine run it.

- ``order``: the state machine of an order, pure;
- ``services``: the payment provider, and stand-ins for it and the mail server;
- ``jobs``: the job, and the app that ``perdure run`` serves;
- ``web``: the HTTP interface.
"""
