"""``perdure check``: whether new code can decode the stored data, before you deploy it."""
