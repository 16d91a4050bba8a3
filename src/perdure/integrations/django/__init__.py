"""Django: a client for views, an outbox of your transactions, a backend for tasks, and ``manage.py perdure``.

Add ``"perdure.integrations.django"`` to ``INSTALLED_APPS``. Settings:

- ``PERDURE_URL``: the engine, such as ``"sqlite:///jobs.db"`` or ``"https://engine:8080"``.
- ``PERDURE_JOBS``: your definitions' dotted paths, such as ``["shop.jobs.orders"]``.
- ``PERDURE_TOKEN``: the engine's token, if it needs one.
- ``PERDURE_TIMEOUT``: how long a call waits for its answer, by default ``"10 seconds"``.
"""
