"""The project's own tests need pytester, which runs pytest inside pytest."""

pytest_plugins = ["pytester"]
