"""Bugs at the surface of the library: files, secrets in texts, the command line, logs."""

from mutant import Mutant

SECRETS = "tests/behaviour/test_secrets.py"
URLS = "tests/cli/test_urls.py"
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
    # ------------------------------------------------------------ secrets in texts
    Mutant(
        "a password with a slash is printed",
        "stores/redacted_url.py",
        'rest.rpartition("@")',
        'rest.rpartition("@") if "@" in rest.split("/")[0] else ("", "", rest)',
        f"{URLS}::test_a_redacted_url_has_no_secret",
    ),
    Mutant(
        "the repr of an app that opens shows the password of its store",
        "app.py",
        "store = redacted_url(self.store) if isinstance(self.store, str) else self.store",
        "store = self.store",
        f"{URLS}::test_no_value_or_error_of_the_library_shows_a_secret_of_a_url",
    ),
    Mutant(
        "a secret in the middle of Base64 is left",
        "values/secret.py",
        "for before in range(3):",
        "for before in range(1):",
        f"{SECRETS}::test_no_part_of_a_secret_is_left_in_any_form",
    ),
    Mutant(
        "a secret that is escaped for a URL is left",
        "values/secret.py",
        "    if point <= _LAST_OF_LATIN_1:",
        "    forms = [each for each in forms if '%' not in each]\n    if point <= _LAST_OF_LATIN_1:",
        f"{SECRETS}::test_no_part_of_a_secret_is_left_in_any_form",
    ),
    Mutant(
        "the text around a secret in Base64 is left",
        "values/secret.py",
        "        if extends:\n",
        "        if not extends:\n",
        f"{SECRETS}::test_no_part_of_a_secret_is_left_in_any_form",
    ),
    Mutant(
        "secret bytes are printed by their repr",
        "values/secret.py",
        '        yield data.decode("latin-1")',
        "        yield secret",
        f"{SECRETS}::test_no_part_of_secret_bytes_is_left",
    ),
)
