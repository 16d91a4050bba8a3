"""An engine's clients in another process: `connect`, and `connect_sync` for code without an event loop."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.remote.connecting import SyncClient, connect, connect_sync
else:
    from perdure._lazy import lazy_names

    # The command line reads URLs with a module of this package, and must not load a client for its help.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.remote.connecting": ("connect", "SyncClient", "connect_sync"),
        },
    )

__all__ = ["SyncClient", "connect", "connect_sync"]
