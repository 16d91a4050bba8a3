"""The garbage collector leaves out the collected tests: half a million objects, half a second for each collection."""

import gc


def pytest_collection_finish() -> None:
    gc.freeze()
