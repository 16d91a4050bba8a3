"""Bugs at the surface of the library: files, secrets in texts, the command line, logs."""

from mutant import Mutant

PERMISSIONS = "tests/cli/test_file_permissions.py"

MUTANTS = (
    # ------------------------------------------------------------ files
    Mutant(
        "every user can read a new store",
        "stores/sqlite/private_file.py",
        "PRIVATE: Final = 0o600",
        "PRIVATE: Final = 0o644",
        f"{PERMISSIONS}::test_every_file_of_a_store_is_private[000]",
    ),
    Mutant(
        "the umask decides who can read a new store",
        "stores/sqlite/lock.py",
        "file = open_private(path, os.O_RDWR)",
        "file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)",
        f"{PERMISSIONS}::test_every_file_of_a_store_is_private[022]",
    ),
    Mutant(
        "a lock file that every user can read is not reported",
        "stores/sqlite/private_file.py",
        '_BESIDE: Final = ("", ".lock", "-wal", "-shm")',
        '_BESIDE: Final = ("",)',
        f"{PERMISSIONS}::test_an_exposed_file_is_reported_at_the_start_and_by_the_doctor[.lock-420]",
    ),
    Mutant(
        "a dead engine is named as the owner of a locked file",
        "stores/sqlite/owner.py",
        "    if not holders or (named is not None and named[1] in holders):",
        "    if signed:",
        f"{PERMISSIONS}::test_a_process_that_locks_the_store_and_is_no_engine_is_named",
    ),
)
