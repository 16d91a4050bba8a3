"""Perdure on a Restate cluster: an app's unchanged jobs as virtual objects. You need the extra ``restate``.

`restate_app` makes the ASGI application that a worker serves to the cluster, and `connect_restate` makes a client.
"""

from perdure.integrations.restate.client import connect_restate
from perdure.integrations.restate.service import RestateApp, restate_app

__all__ = ["RestateApp", "connect_restate", "restate_app"]
